-- finish: end a stream that nobody holds. Works under OOM: an ending must always get through.
-- ARGV  1 nonce  2 kind  3 value  4 retain_ms  5 tombstone_ms  6 field  7 meta value
-- Answers  ENDED attempt tail | HELD until | CLOSED status tail | GONE
local function finish(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'attempt', 'tail', 'lease_ms')
  local attempt, tail = tonumber(held[2]), tonumber(held[3])
  if not held[1] or is_headless(keys, attempt) then
    return { 'GONE' }
  end
  if OVER[held[1]] then
    return { 'CLOSED', held[1], held[3] }
  end
  if not OVER[args[2]] then
    return redis.error_reply('ERR finish: not a terminal event: ' .. tostring(args[2]))
  end
  local now = now_ms()
  if tonumber(held[4]) > now then
    return { 'HELD', held[4] }
  end
  local refusal = refusal_of('finish', keys)
  if refusal then
    return refusal
  end
  redis.call('HSET', keys[META], args[6], args[7])
  local ended = close_unowned(keys, attempt, tail, args[1], args[2], args[3], now, tonumber(args[4]), tonumber(args[5]))
  return { 'ENDED', digits(attempt + 1), digits(ended) }
end
