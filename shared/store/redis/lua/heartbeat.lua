-- heartbeat: a sign of life from the writer.
-- ARGV  1 nonce  2 lease_ms  3 live_ms  4 tombstone_ms
-- Answers  BEATING cancelling | FENCED attempt | CLOSED status tail | GONE
-- Keeps: a live stream never expires under its writer; it stays ahead of all finished ones in `recent`; the sums hear of it.
-- A stream that lost a key has lost them all after it.
local function heartbeat(keys, args)
  local held = redis.call('HMGET', keys[META], 'nonce', 'status', 'attempt', 'tail', 'cancel')
  if not held[2] or is_headless(keys, tonumber(held[3])) then
    return drop(keys)
  end
  if held[3] == '0' then
    return { 'GONE' }
  end
  if held[1] ~= args[1] then
    return { 'FENCED', held[3] }
  end
  if OVER[held[2]] then
    return { 'CLOSED', held[2], held[4] }
  end
  local refusal = refusal_of('heartbeat', keys)
  if refusal then
    return refusal
  end
  local now = now_ms()
  local deadline, expires_ms = digits(now + tonumber(args[2])), now + tonumber(args[3])
  redis.call('HSET', keys[META], 'lease_ms', deadline, 'expires_ms', digits(expires_ms))
  redis.call('ZADD', keys[LEASES], deadline, id_of(keys[META]))
  redis.call('ZADD', keys[RECENT], digits(now), id_of(keys[META]))
  update_sums(keys)
  expire_at(keys, expires_ms, tonumber(args[4]))
  return { 'BEATING', held[5] or '0' }
end
