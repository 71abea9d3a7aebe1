-- Shared by every function of the library. Each function is given the same KEYS, all in one slot:
--   1 stream  2 blocks  3 meta  4 request  5 tombstone  6 leases  7 recent  8 usage
-- Rules: everything is checked before the first write, because Lua does not roll back; the only clock is Redis'.

local STREAM, BLOCKS, META, REQUEST, TOMBSTONE, LEASES, RECENT, USAGE = 1, 2, 3, 4, 5, 6, 7, 8

-- What an entry costs beyond its value, as measured with MEMORY USAGE on streams of small entries.
local ENTRY_OVERHEAD = 16

local OVER = { done = true, error = true, cancelled = true }
local DELTA = { text = true, reasoning = true, refusal = true }
local KIND = {
  text = true, reasoning = true, refusal = true, tool_call = true, usage = true,
  done = true, error = true, cancelled = true,
}

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- 1e15 prints as `1e+15` by default; positions and times must stay digits.
local function digits(number)
  return string.format('%.0f', number)
end

local function id_of(key)
  return string.match(key, '[^:]*$')
end

-- A JSON string. cjson writes the names of an object in any order, and `\/` for `/`: equal events must be equal bytes.
local function quoted(text)
  return (string.gsub(cjson.encode(text), '\\/', '/'))
end

-- What the streams of a bucket share lives as long as the longest-lived of them.
local function keep_shared_until(keys, at_ms)
  for _, index in ipairs({ LEASES, RECENT, USAGE }) do
    if redis.call('PEXPIRETIME', keys[index]) < at_ms then
      redis.call('PEXPIREAT', keys[index], digits(at_ms))
    end
  end
end

-- All keys of a stream expire in the same millisecond; the tombstone outlives them and says when that was.
local function expire_at(keys, at_ms, tombstone_ms)
  local at, tombstone_at = digits(at_ms), at_ms + tombstone_ms
  for _, index in ipairs({ STREAM, BLOCKS, META, REQUEST }) do
    redis.call('PEXPIREAT', keys[index], at)
  end
  redis.call('HSET', keys[TOMBSTONE], 'gone_ms', at)
  redis.call('PEXPIREAT', keys[TOMBSTONE], digits(tombstone_at))
  keep_shared_until(keys, tombstone_at)
end

-- A claimed stream without its log: Redis lost one key of it. It cannot be continued, only expire.
local function is_headless(keys, attempt)
  return attempt > 0 and redis.call('EXISTS', keys[STREAM]) == 0
end

-- Bookkeeping of an ending, whoever wrote the terminal event. Answers how many bytes became free.
local function close(keys, kind, now, retain_ms, tombstone_ms)
  local id = id_of(keys[META])
  redis.call('HSET', keys[META], 'status', kind, 'finished_ms', digits(now), 'lease_ms', '0',
    'expires_ms', digits(now + retain_ms))
  local freed = redis.call('STRLEN', keys[REQUEST])
  redis.call('DEL', keys[REQUEST])
  redis.call('HINCRBY', keys[META], 'bytes', -freed)
  redis.call('ZREM', keys[LEASES], id)
  redis.call('ZADD', keys[RECENT], digits(now), id)
  expire_at(keys, now + retain_ms, tombstone_ms)
  return freed
end

-- The fence of attempt `attempt`: cuts the log back to `keep` units and bars every older writer.
local function fence(keys, attempt, keep, nonce, reason, worker, old_attempt)
  local freed = 0
  if keep == 0 then
    redis.call('XTRIM', keys[STREAM], 'MAXLEN', 0)
    redis.call('DEL', keys[BLOCKS])
  else
    local lost = redis.call('XRANGE', keys[STREAM], '(' .. old_attempt .. '-' .. digits(keep), '+')
    for _, entry in ipairs(lost) do
      redis.call('XDEL', keys[STREAM], entry[1])
      freed = freed + ENTRY_OVERHEAD + #entry[2][2]
    end
  end
  local body = '{"nonce":' .. quoted(nonce) .. ',"keep":' .. digits(keep) .. ',"reason":' .. quoted(reason)
    .. ',"worker":' .. quoted(worker) .. '}'
  redis.call('XADD', keys[STREAM], attempt .. '-' .. digits(keep), 'fence', body)
  redis.call('HSET', keys[META], 'attempt', attempt, 'nonce', nonce, 'tail', digits(keep), 'safe', digits(keep),
    'fence:' .. attempt, body)
  return freed
end

-- Ends a stream that has no living writer: takes the next attempt only to write the terminal event.
local function close_unowned(keys, attempt, tail, nonce, kind, value, now, retain_ms, tombstone_ms)
  local mine = digits(attempt + 1)
  fence(keys, mine, tail, nonce, kind, '', digits(attempt))
  redis.call('XADD', keys[STREAM], mine .. '-' .. digits(tail + 1), kind, value)
  redis.call('HSET', keys[META], 'tail', digits(tail + 1), 'safe', digits(tail + 1))
  redis.call('HINCRBY', keys[META], 'events', 1)
  redis.call('HINCRBY', keys[META], 'bytes', ENTRY_OVERHEAD + #value)
  close(keys, kind, now, retain_ms, tombstone_ms)
  return tail + 1
end
