-- append: compare-and-append. The ids follow from the sizes, so a hole or a double cannot be expressed.
-- ARGV  1 nonce  2 tail  3 safe  4 retain_ms  5 tombstone_ms  6 n, then n times (kind size value), then (field value)…
-- Answers  'OK tail cancelling bytes unfolded' | TAIL tail | FENCED attempt | CLOSED status tail | GONE
-- The good answer is one string, and each number is printed once: 10 % of what Redis pays for an append.
-- Keeps: the log is contiguous; `safe` is the end of an event and never moves back, so no fence cuts an event in two;
-- a terminal event is the last, and closes the stream in the same step.
local function append(keys, args)
  local held = redis.call('HMGET', keys[META], 'nonce', 'tail', 'status', 'attempt', 'cancel', 'bytes', 'events',
    'safe', 'beside', 'settled')
  if not held[3] then
    return { 'GONE' }
  end
  if held[1] ~= args[1] then
    return { 'FENCED', held[4] }
  end
  if OVER[held[3]] then
    return { 'CLOSED', held[3], held[2] }
  end
  if held[2] ~= args[2] then
    return { 'TAIL', held[2] }
  end
  local last = 6 + 3 * tonumber(args[6])
  local safe, offset, bytes = tonumber(args[3]), tonumber(held[2]), tonumber(held[6])
  local tail, ids, kind = held[2], {}, nil
  local is_end = safe == offset or safe == tonumber(held[8])
  for i = 7, last, 3 do
    if OVER[kind] then
      return redis.error_reply('ERR append: nothing follows a terminal event')
    end
    kind = args[i]
    local size, value = tonumber(args[i + 1]), args[i + 2]
    if not KIND[kind] or not size or size < 1 or size % 1 ~= 0 or (DELTA[kind] and size ~= #value) then
      return redis.error_reply('ERR append: not an event: ' .. tostring(kind) .. ' of size ' .. tostring(args[i + 1]))
    end
    offset, bytes = offset + size, bytes + ENTRY_OVERHEAD + #value
    tail = digits(offset)
    ids[i] = held[4] .. '-' .. tail
    is_end = is_end or safe == offset
  end
  if not safe or safe < tonumber(held[8]) or safe > offset then
    return redis.error_reply('ERR append: the safe offset moves back or is beyond the tail')
  end
  if not is_end then
    local safe_id = held[4] .. '-' .. digits(safe)
    if #redis.call('XRANGE', keys[STREAM], safe_id, safe_id) == 0 then
      if redis.call('EXISTS', keys[STREAM]) == 0 then
        return { 'GONE' }
      end
      return redis.error_reply('ERR append: the safe offset is inside an event')
    end
  end
  for i = 7, last, 3 do
    if not redis.call('XADD', keys[STREAM], 'NOMKSTREAM', ids[i], args[i], args[i + 2]) then
      return { 'GONE' }
    end
  end
  local beside = tonumber(held[9] or 0)
  redis.call('HSET', keys[META], 'tail', tail, 'safe', digits(safe), 'bytes', digits(bytes),
    'events', digits(tonumber(held[7]) + tonumber(args[6])), unpack(args, last + 1))
  if args[2] == '0' and offset > 0 then
    redis.call('HSETNX', keys[META], 'first_ms', digits(now_ms()))
  end
  if OVER[kind] then
    local freed = close(keys, kind, now_ms(), tonumber(args[4]), tonumber(args[5]))
    bytes, beside = bytes - freed, beside - freed
  elseif math.abs(bytes - tonumber(held[10] or 0)) >= SETTLE_BYTES then
    settle(keys)
  end
  return 'OK ' .. tail .. ' ' .. (held[5] or '0') .. ' ' .. digits(bytes) .. ' ' .. digits(bytes - beside)
end
