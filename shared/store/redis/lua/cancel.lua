-- cancel: ask for the end of a stream. Works under OOM: a stop must always get through.
-- ARGV  1 attempt ('' for any)  2 nonce  3 retain_ms  4 tombstone_ms  5 channel
-- Answers  CANCELLING | ENDED attempt tail (nobody was writing) | CLOSED status tail | STALE attempt | GONE
-- Keeps: a stop aimed at an older attempt does nothing.
local function cancel(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'attempt', 'tail', 'lease_ms')
  local status, attempt, tail = held[1], tonumber(held[2]), tonumber(held[3])
  if not status or is_headless(keys, attempt) then
    return { 'GONE' }
  end
  if OVER[status] then
    return { 'CLOSED', status, held[3] }
  end
  if args[1] ~= '' and args[1] ~= held[2] then
    return { 'STALE', held[2] }
  end
  local refusal = refusal_of('cancel', keys)
  if refusal then
    return refusal
  end
  if not redis.acl_check_cmd('PUBLISH', args[5], '') then
    return redis.error_reply('NOPERM cancel needs PUBLISH on ' .. args[5])
  end
  local now = now_ms()
  if attempt > 0 and tonumber(held[4]) > now then
    redis.call('HSET', keys[META], 'cancel', '1', 'writer', '')
    redis.call('PUBLISH', args[5], id_of(keys[META]))
    return { 'CANCELLING' }
  end
  local ended = close_unowned(keys, attempt, tail, args[2], 'cancelled', '{}', now, tonumber(args[3]), tonumber(args[4]))
  return { 'ENDED', digits(attempt + 1), digits(ended) }
end
