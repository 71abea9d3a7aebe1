-- create: a stream that nobody has claimed yet.
-- ARGV  1 tenant  2 model  3 request  4 digest  5 metadata  6 interruption  7 dispatch_ms  8 live_ms  9 tombstone_ms
-- Answers  CREATED now | EXISTS digest status tenant | GONE (the id has a tombstone: it is never used twice)
-- Keeps: meta, request, lease index and expiries come into being together.

-- Streams expire unheard, so their names stay behind in the indexes. Each creation strikes off some: more than it adds.
-- A version of Tailrace that does not know an index has left names in that one only.
local function prune(keys, index)
  local prefix = string.sub(keys[META], 1, -1 - #id_of(keys[META]))
  for _, id in ipairs(redis.call('ZRANGE', keys[index], 0, 7)) do
    if redis.call('EXISTS', prefix .. id) == 0 then
      strike_off(keys, id)
    end
  end
end

local function create(keys, args)
  local held = redis.call('HMGET', keys[META], 'digest', 'status', 'tenant')
  if held[2] then
    return { 'EXISTS', held[1] or '', held[2], held[3] }
  end
  if redis.call('EXISTS', keys[TOMBSTONE]) == 1 then
    return { 'GONE' }
  end
  local refusal = refusal_of('create', keys)
  if refusal then
    return refusal
  end
  local now, id = now_ms(), id_of(keys[META])
  local deadline, live_ms = now + tonumber(args[7]), tonumber(args[8])
  local request = request_bytes(#args[3])
  local held_bytes = request + #args[5]
  local bytes = digits(held_bytes)
  -- What `append` wants comes first: Redis looks through a small hash from its start, field by field.
  redis.call('HSET', keys[META],
    'writer', '', 'tail', '0', 'attempt', '0', 'bytes', bytes, 'beside', bytes, 'safe', '0', 'nonce', '',
    'status', 'queued', 'cancel', '0', 'settled', bytes, 'tenant', args[1], 'model', args[2], 'metadata', args[5], 'created_ms', digits(now),
    'lease_ms', digits(deadline), 'expires_ms', digits(now + live_ms))
  tell(keys, 'digest', args[4])
  tell(keys, 'interruption', args[6])
  redis.call('SET', keys[REQUEST], args[3])
  redis.call('HSET', keys[TOMBSTONE], 'tenant', args[1])
  redis.call('ZADD', keys[LEASES], digits(deadline), id)
  redis.call('ZADD', keys[RECENT], digits(now), id)
  redis.call('ZADD', keys[CREATED], digits(now), id)
  redis.call('HINCRBY', keys[USAGE], 'created', 1)
  redis.call('HINCRBY', keys[USAGE], 'requests', digits(request))
  count_bytes(keys, args[1], held_bytes + share_of())
  expire_at(keys, now + live_ms, tonumber(args[9]))
  prune(keys, RECENT)
  prune(keys, CREATED)
  return { 'CREATED', digits(now) }
end
