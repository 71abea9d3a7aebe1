-- append: compare-and-append. The ids follow from the sizes, so a hole or a double cannot be expressed.
-- KEYS  stream meta usage. With a terminal event all ten, because it closes the stream.
-- ARGV  1 nonce  2 tail  3 safe, with all keys 4 retain_ms 5 tombstone_ms, then (kind size value)…, then, if meta is to change,
--       an empty kind and (field value)…
-- Answers  'OK tail cancelling bytes base_bytes' | TAIL tail | FENCED attempt | CLOSED status tail | GONE
-- Keeps: the log is contiguous; `safe` is the end of an event and never moves back, so no fence cuts an event in two;
-- a terminal event is the last, and closes the stream in the same step.
-- What an append costs Redis is mostly the count of things: each key, argument or field is 0.15 to 0.3 µs, a number printed 0.3.
-- So meta counts no events (7 % of an append, and XINFO STREAM tells an operator). Not writing `safe` where it is the tail: 1.7 %.

-- The careful look at a stream, if a glance at `writer` and `tail` was not enough: a refusal, or nil and whether to stop.
local function second_look(meta, nonce, tail)
  local held = redis.call('HMGET', meta, 'nonce', 'status', 'tail', 'attempt', 'cancel')
  if not held[2] then
    return { 'GONE' }
  end
  if held[1] ~= nonce then
    return { 'FENCED', held[4] }
  end
  if OVER[held[2]] then
    return { 'CLOSED', held[2], held[3] }
  end
  if held[3] ~= tail then
    return { 'TAIL', held[3] }
  end
  return nil, held[5] or '0'
end

-- The refusal of a safe offset that is not the new tail; nil if nothing is wrong with it.
local function safe_refusal(stream, meta, attempt, safe, offset, is_end)
  local held = tonumber(redis.call('HGET', meta, 'safe'))
  if safe < held or safe > offset then
    return redis.error_reply('ERR append: the safe offset moves back or is beyond the tail')
  end
  local id = attempt .. '-' .. digits(safe)
  if is_end or safe == held or #redis.call('XRANGE', stream, id, id) > 0 then
    return nil
  end
  if redis.call('EXISTS', stream) == 0 then
    return { 'GONE' }
  end
  return redis.error_reply('ERR append: the safe offset is inside an event')
end

-- Whether an event stands in the log already: its append was refused what came after, and was sent again. An append does not
-- prove its rights, which would cost it 7 %; only the first of a stream and the last do. So this is how it is mended.
local function stands(stream, id, kind, value)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  return entry and entry[2][1] == kind and entry[2][2] == value
end

-- What the sums are not told now they are told by the next heartbeat.
local function update_sums_if_allowed(keys)
  if not refusal_of('update_sums', keys) then
    update_sums(keys)
  end
end

local function append(keys, args)
  local call, format = redis.call, string.format
  local stream, meta, usage, first = keys[1], keys[2], keys[3], 4
  if keys[4] then
    meta, usage, first = keys[META], keys[USAGE], 6
  end
  local held = call('HMGET', meta, 'writer', 'tail', 'attempt', 'bytes', 'beside')
  local tail, attempt, cancelling = held[2], held[3], '0'
  if held[1] ~= args[1] or tail ~= args[2] then
    local refusal
    refusal, cancelling = second_look(meta, args[1], args[2])
    if refusal then
      return refusal
    end
  end
  local start, safe, before = tail + 0, args[3] + 0, held[4] + 0
  local offset, bytes, kind, i = start, before, nil, first
  local is_end = safe == start
  while args[i] and args[i] ~= '' do
    if OVER[kind] then
      return redis.error_reply('ERR append: nothing follows a terminal event')
    end
    kind = args[i]
    local size, value = args[i + 1] + 0, args[i + 2]
    -- A tool call's size is its writer's word: to check it, Redis would have to parse the arguments.
    local due = DELTA[kind] and #value or kind == 'tool_call' and size or 1
    if not KIND[kind] or size ~= due or size < 1 or size % 1 ~= 0 then
      return redis.error_reply('ERR append: not an event: ' .. kind .. ' of size ' .. args[i + 1])
    end
    offset, bytes = offset + size, bytes + ENTRY_OVERHEAD + #value
    tail = format('%d', offset)
    -- The id takes the place of the size, which was needed here only: a table less.
    args[i + 1] = attempt .. '-' .. tail
    is_end = is_end or safe == offset
    i = i + 3
  end
  local is_over = OVER[kind]
  if is_over and not keys[4] then
    return redis.error_reply('ERR append: a terminal event needs all keys')
  end
  local refusal = safe ~= offset and safe_refusal(stream, meta, attempt, safe, offset, is_end)
    or is_over and refusal_of('append', keys)
    or start == 0 and refusal_of('first_append', { [STREAM] = stream, [META] = meta })
  if refusal then
    return refusal
  end
  for event = first, i - 1, 3 do
    local added = redis.pcall('XADD', stream, 'NOMKSTREAM', args[event + 1], args[event], args[event + 2])
    if not added then
      return { 'GONE' }
    end
    if type(added) == 'table' and not stands(stream, args[event + 1], args[event], args[event + 2]) then
      return added
    end
  end
  local held_bytes, base_bytes = format('%d', bytes), held[5]
  call('HSET', meta, 'tail', tail, 'bytes', held_bytes, 'safe', safe == offset and tail or args[3])
  if args[i] then
    call('HSET', meta, unpack(args, i + 1))
  end
  -- A stream that begins with its end, or with a count, has not said a word.
  if start == 0 and offset > 0 and not OVER[args[first]] and args[first] ~= 'usage' then
    call('HSETNX', meta, 'first_ms', digits(now_ms()))
  end
  if is_over then
    local freed = close(keys, kind, now_ms(), tonumber(args[4]), tonumber(args[5]))
    held_bytes, base_bytes = digits(bytes - freed), digits(base_bytes - freed)
  elseif before % SUMS_STEP_BYTES + bytes - before >= SUMS_STEP_BYTES then
    update_sums_if_allowed({ [META] = meta, [USAGE] = usage })
  end
  return 'OK ' .. tail .. ' ' .. cancelling .. ' ' .. held_bytes .. ' ' .. base_bytes
end
