-- release: the writer gives its lease back, so that the next claim need not wait for it to run out.
-- ARGV  1 nonce
-- Answers  BEATING cancelling | FENCED attempt | CLOSED status tail | GONE
local function release(keys, args)
  local held = redis.call('HMGET', keys[META], 'nonce', 'status', 'attempt', 'tail', 'cancel')
  if not held[2] then
    return { 'GONE' }
  end
  if held[1] ~= args[1] then
    return { 'FENCED', held[3] }
  end
  if OVER[held[2]] then
    return { 'CLOSED', held[2], held[4] }
  end
  local refusal = refusal_of('release', keys)
  if refusal then
    return refusal
  end
  redis.call('HSET', keys[META], 'lease_ms', '0')
  redis.call('ZADD', keys[LEASES], 'XX', '0', id_of(keys[META]))
  return { 'BEATING', held[5] or '0' }
end
