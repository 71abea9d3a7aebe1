-- append_deltas: append for many streams in one call, one delta for each: what a busy worker sends.
-- KEYS  (stream meta)…, then the usage of each of their buckets. Not for a cluster: the streams need not share a slot.
-- ARGV  (nonce tail kind value)…. What is safe afterwards is the new tail.
-- Answers  in a list, for each stream 1 | 'OK tail cancelling bytes base_bytes' | TAIL tail | FENCED attempt | CLOSED status tail | GONE
-- | what is wrong with it, as an error.
-- Keeps: what append keeps, for each stream by itself.
-- Half of what a single append costs Redis is its call and its words. In calls of 20 an append costs it a quarter less, of 40 a third.

-- The usual answer is a bare 1. What the stream holds is told whenever its bytes pass a multiple of this.
local TOLD_BYTES = 512

-- The sums of the bucket that a stream is in, among the last keys.
local function usage_of(meta, keys, first)
  local bucket = string.match(meta, '^(.*:)meta:[^:]*$')
  for i = first, #keys do
    if keys[i] == bucket .. 'usage' then
      return keys[i]
    end
  end
end

local function append_delta(keys, place, args, at)
  local call, format = redis.call, string.format
  local stream, meta = keys[place], keys[place + 1]
  local nonce, expected, kind, value = args[at], args[at + 1], args[at + 2], args[at + 3]
  local held = call('HMGET', meta, 'writer', 'tail', 'attempt', 'bytes')
  local tail, cancelling = held[2], '0'
  if held[1] ~= nonce or tail ~= expected then
    local refusal
    refusal, cancelling = second_look(meta, nonce, expected)
    if refusal then
      return refusal
    end
  end
  local size = #value
  if not DELTA[kind] or size == 0 then
    return redis.error_reply('ERR append: not a delta: ' .. kind .. ' of size ' .. size)
  end
  local start, before, added = tail + 0, held[4] + 0, ENTRY_OVERHEAD + size
  local denial = start == 0 and refusal_of('first_append', { [STREAM] = stream, [META] = meta })
  if denial then
    return denial
  end
  tail = format('%d', start + size)
  if not call('XADD', stream, 'NOMKSTREAM', held[3] .. '-' .. tail, kind, value) then
    return { 'GONE' }
  end
  local bytes = format('%d', before + added)
  call('HSET', meta, 'tail', tail, 'bytes', bytes, 'safe', tail)
  if start == 0 then
    call('HSETNX', meta, 'first_ms', digits(now_ms()))
  end
  if before % SUMS_STEP_BYTES + added >= SUMS_STEP_BYTES then
    update_sums_if_allowed({ [META] = meta, [USAGE] = usage_of(meta, keys, #args / 2 + 1) })
  elseif before % TOLD_BYTES + added < TOLD_BYTES and cancelling == '0' then
    return 1
  end
  return 'OK ' .. tail .. ' ' .. cancelling .. ' ' .. bytes .. ' ' .. call('HGET', meta, 'beside')
end

local function append_deltas(keys, args)
  -- Once a call, for all of them: who may not write meta must not leave an entry that meta does not know.
  if not redis.acl_check_cmd('HSET', keys[2]) then
    return redis.error_reply('NOPERM append_deltas needs HSET on ' .. keys[2])
  end
  local answers = {}
  for each = 1, #args / 4 do
    -- What goes wrong with one stream, a key of another type say, is not the trouble of the others.
    local is_done, answer = pcall(append_delta, keys, 2 * each - 1, args, 4 * each - 3)
    answers[each] = is_done and answer or redis.error_reply(type(answer) == 'table' and answer.err or answer)
  end
  return answers
end
