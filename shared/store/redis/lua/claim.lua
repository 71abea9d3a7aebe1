-- claim: become the writer of a stream; the claim is the lock and the fence.
-- ARGV  1 nonce  2 worker  3 lease_ms  4 mode (continue | restart)  5 reason  6 holder  7 provider  8 max_attempts
--       9 live_ms  10 tombstone_ms
-- Answers  CLAIMED attempt keep request cancelling interruption | HELD until | EXHAUSTED attempt | CLOSED status tail | GONE
-- Keeps: after it no older attempt can write, and the log read from its start is contiguous.
-- A stream that lost a key has lost them all after it.
local function claim(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'attempt', 'nonce', 'tail', 'safe', 'lease_ms', 'cancel', 'bytes',
    'interruption', 'created_ms')
  local status, attempt, nonce = held[1], tonumber(held[2]), held[3]
  if not status or is_headless(keys, attempt) then
    return drop(keys)
  end
  if OVER[status] then
    return { 'CLOSED', status, held[4] }
  end
  local now = now_ms()
  if attempt > 0 and nonce ~= args[6] and tonumber(held[6]) > now then
    return { 'HELD', held[6] }
  end
  local request = redis.call('GET', keys[REQUEST])
  if not request then
    return drop(keys)
  end
  if attempt >= tonumber(args[8]) then
    return { 'EXHAUSTED', held[2] }
  end
  local refusal = refusal_of('claim', keys)
  if refusal then
    return refusal
  end
  local keep = args[4] == 'continue' and tonumber(held[5]) or 0
  local mine, deadline = digits(attempt + 1), digits(now + tonumber(args[3]))
  local freed = fence(keys, mine, keep, args[1], args[5], args[2], held[2])
  local bytes = tonumber(held[8]) - freed
  if keep == 0 then
    bytes = request_bytes(#request) + redis.call('HSTRLEN', keys[META], 'metadata')
  end
  -- A writer that is to stop has its appends looked at twice, and so hears of it.
  redis.call('HSET', keys[META], 'writer', held[7] == '1' and '' or args[1], 'status', 'running', 'provider', args[7], 'lease_ms', deadline,
    'bytes', digits(bytes))
  redis.call('HSETNX', keys[META], 'started_ms', digits(now))
  redis.call('ZADD', keys[LEASES], deadline, id_of(keys[META]))
  -- Who created it may be of a version that knows no such index.
  redis.call('ZADD', keys[CREATED], held[10], id_of(keys[META]))
  redis.call('HSET', keys[META], 'expires_ms', digits(now + tonumber(args[9])))
  expire_at(keys, now + tonumber(args[9]), tonumber(args[10]))
  update_sums(keys)
  return { 'CLAIMED', mine, digits(keep), request, held[7] or '0', held[9] or '' }
end
