-- recount: compare the sums of a bucket and its order of creation with its streams, and correct them. Streams that Redis
-- expired by itself have told nobody, and other versions may not know that index. Given the keys of any stream of the bucket.
-- ARGV  1 most streams to look at
-- Answers  RECOUNTED drift streams largest | TOO_MANY streams
local function mend_created(keys, prefix, created)
  for id, at_ms in pairs(created) do
    redis.call('ZADD', keys[CREATED], at_ms, id)
  end
  for _, id in ipairs(redis.call('ZRANGE', keys[CREATED], 0, -1)) do
    if not created[id] and redis.call('EXISTS', prefix .. id) == 0 then
      redis.call('ZREM', keys[CREATED], id)
    end
  end
  keep_shared_until(keys, redis.call('PEXPIRETIME', keys[RECENT]))
end

local function recount(keys, args)
  local streams = redis.call('ZCARD', keys[RECENT])
  if streams > tonumber(args[1]) then
    return { 'TOO_MANY', digits(streams) }
  end
  local refusal = refusal_of('recount', keys)
  if refusal then
    return refusal
  end
  local prefix = string.sub(keys[META], 1, -1 - #id_of(keys[META]))
  local requests_prefix = string.sub(prefix, 1, -1 - #'meta:') .. 'request:'
  local total, largest, by_tenant, created = 0, 0, {}, {}
  local requests, blocks = 0, 0
  for _, id in ipairs(redis.call('ZRANGE', keys[RECENT], 0, -1)) do
    -- A key that is no hash any more is not the trouble of the others.
    local held = redis.pcall('HMGET', prefix .. id, 'settled', 'tenant', 'whole', 'folded', 'created_ms')
    if held[2] then
      local bytes = (tonumber(held[1]) or 0) + share_of(held[3], held[4])
      total, largest = total + bytes, math.max(largest, bytes)
      by_tenant[held[2]] = (by_tenant[held[2]] or 0) + bytes
      -- Counted as what takes them off again does: two versions that count a request differently leave a difference otherwise.
      local own = { [META] = prefix .. id, [REQUEST] = requests_prefix .. id }
      requests, blocks = requests + held_request_bytes(own), blocks + blocks_bytes(own)
      created[id] = held[5]
    elseif not held.err then
      strike_off(keys, id)
      streams = streams - 1
    end
  end
  if redis.call('ZCARD', keys[CREATED]) ~= streams then
    mend_created(keys, prefix, created)
  end
  local drift = tonumber(redis.call('HGET', keys[USAGE], 'bytes') or 0) - total
  for _, name in ipairs(redis.call('HKEYS', keys[USAGE])) do
    if string.sub(name, 1, 6) == 'bytes:' and not by_tenant[string.sub(name, 7)] then
      redis.call('HDEL', keys[USAGE], name)
    end
  end
  for tenant, bytes in pairs(by_tenant) do
    redis.call('HSET', keys[USAGE], 'bytes:' .. tenant, digits(bytes))
  end
  if drift ~= 0 then
    redis.call('HSET', keys[USAGE], 'bytes', digits(total))
  end
  redis.call('HSET', keys[USAGE], 'largest', digits(largest), 'requests', digits(requests), 'blocks', digits(blocks))
  bound_sums(keys)
  return { 'RECOUNTED', digits(drift), digits(streams), digits(largest) }
end
