-- evict: remove a finished stream, because its time is up or its memory is needed. Works under OOM: it makes room.
-- ARGV  1 why (expired | evicted)  2 tombstone_ms (0: leave none)
-- Answers  EVICTED bytes | LIVE | GONE
-- Keeps: a live stream is never evicted; an expired one not before its time.
local function evict(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'tenant', 'bytes', 'expires_ms', 'whole', 'folded')
  if not held[1] then
    leave_indexes(keys)
    return { 'GONE' }
  end
  local now = now_ms()
  if not OVER[held[1]] or args[1] == 'expired' and tonumber(held[4]) > now then
    return { 'LIVE' }
  end
  local refusal = refusal_of('evict', keys)
  if refusal then
    return refusal
  end
  remove(keys)
  redis.call('HINCRBY', keys[USAGE], args[1], 1)
  if args[2] == '0' then
    redis.call('DEL', keys[TOMBSTONE])
  else
    redis.call('HSET', keys[TOMBSTONE], 'tenant', held[2], 'gone_ms', digits(now))
    redis.call('PEXPIRE', keys[TOMBSTONE], args[2])
    keep_shared_until(keys, now + tonumber(args[2]))
  end
  return { 'EVICTED', digits(tonumber(held[3]) + share_of(held[5], held[6])) }
end
