-- Counting, expiring, fencing, ending: what several functions do.

-- What an entry costs beyond its value, as measured with MEMORY USAGE on streams of small entries.
local ENTRY_OVERHEAD = 16
-- The same for a block, and for each part in it.
local BLOCK_OVERHEAD, PART_OVERHEAD = 64, 16
-- What a stream costs besides: its keys, its meta, its places in the indexes; until it is folded whole the room that its newest
-- node is given to grow into; and from its first fold on as much again, for its blocks and for what is folded, but still in a
-- node. In the sums only. Measured on Redis 7, with what is in no key: 1.5 to 2.3 KB, up to 5.5, and 4 to 12.7.
local STREAM_OVERHEAD, GROWTH_OVERHEAD = 2048, 4608
-- A request from this size on is counted as what Redis takes for it, with its header; a smaller one is exact.
local LARGE_REQUEST_BYTES, STRING_OVERHEAD = 4096, 16
-- The sums are told whenever the bytes of a live stream pass a multiple of this; its heartbeat tells them anyway.
local SUMS_STEP_BYTES = 16384
-- The sweeper removes what has expired and takes it off the sums. If there is no sweeper, Redis does so this much later.
local BACKSTOP_MS = 60000

local OVER = { done = true, error = true, cancelled = true }
local DELTA = { text = true, reasoning = true, refusal = true }
local KIND = {
  text = true, reasoning = true, refusal = true, tool_call = true, usage = true,
  reasoning_end = true, annotation = true, file = true,
  done = true, error = true, cancelled = true,
}

-- The fields `whole` and `folded` of meta decide.
local function share_of(fully_folded, folded)
  if fully_folded then
    return STREAM_OVERHEAD
  end
  return STREAM_OVERHEAD + ((tonumber(folded) or 0) > 0 and 2 or 1) * GROWTH_OVERHEAD
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- 1e15 prints as `1e+15` by default; positions and times must stay digits. `%.0f` would take twice as long.
local function digits(number)
  return string.format('%d', number)
end

local function id_of(key)
  return string.match(key, '[^:]*$')
end

-- U+0085, U+2028 and U+2029: legal in JSON, but line ends to many a client.
local LINE_ENDS = { ['\194\133'] = '\\u0085', ['\226\128\168'] = '\\u2028', ['\226\128\169'] = '\\u2029' }

-- A JSON string in one line. cjson writes the names of an object in any order, `\/` for `/` and `\u007f` for DEL: equal
-- events must be equal bytes, whoever wrote them.
local function quoted(text)
  local body = string.gsub(cjson.encode(text), '\\/', '/')
  for raw, escaped in pairs(LINE_ENDS) do
    body = string.gsub(body, raw, escaped)
  end
  return (string.gsub(body, '(\\+)u007f', function(slashes)
    return #slashes % 2 == 1 and string.sub(slashes, 2) .. '\127' or nil
  end))
end

-- A field of meta that is not there when there is nothing to say.
local function tell(keys, name, value)
  if value ~= '' then
    redis.call('HSET', keys[META], name, value)
  end
end

-- What the streams of a bucket share lives as long as the longest-lived of them.
local function keep_shared_until(keys, at_ms)
  for _, index in ipairs({ LEASES, RECENT, USAGE, MAINTENANCE, CREATED }) do
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

-- The same for a log that was folded: its tombstone has said when it goes, and keeps saying that.
local function expire_log_at(keys, at_ms)
  for _, index in ipairs({ STREAM, BLOCKS, META }) do
    redis.call('PEXPIREAT', keys[index], digits(at_ms))
  end
  keep_shared_until(keys, at_ms)
end

local function strike_off(keys, id)
  for _, index in ipairs({ LEASES, RECENT, MAINTENANCE, CREATED }) do
    redis.call('ZREM', keys[index], id)
  end
end

local function leave_indexes(keys)
  strike_off(keys, id_of(keys[META]))
end

-- Sums that somebody deleted come back with the next count. They must not stay for ever: they live as long as what names
-- the streams they count, or until something begins anew.
local function bound_sums(keys)
  if redis.call('PTTL', keys[USAGE]) == -1 then
    local until_ms = now_ms() + BACKSTOP_MS
    for _, index in ipairs({ TOMBSTONE, RECENT }) do
      if keys[index] then -- an append is not given them, and the next heartbeat is
        until_ms = math.max(until_ms, redis.call('PEXPIRETIME', keys[index]))
      end
    end
    redis.call('PEXPIREAT', keys[USAGE], digits(until_ms))
  end
end

-- Bytes that came or went, in the sums of the bucket and of the tenant. A tenant without bytes has no field.
local function count_bytes(keys, tenant, delta)
  if redis.call('HINCRBY', keys[USAGE], 'bytes', digits(delta)) == delta then
    bound_sums(keys)
  end
  if redis.call('HINCRBY', keys[USAGE], 'bytes:' .. tenant, digits(delta)) <= 0 then
    redis.call('HDEL', keys[USAGE], 'bytes:' .. tenant)
  end
end

-- Tell the sums what the stream holds now.
local function update_sums(keys)
  local held = redis.call('HMGET', keys[META], 'bytes', 'settled', 'tenant')
  local delta = tonumber(held[1]) - tonumber(held[2] or 0)
  if delta ~= 0 then
    redis.call('HSET', keys[META], 'settled', held[1])
    count_bytes(keys, held[3], delta)
  end
end

-- What so many bytes in one piece take: as the allocator does, rounded up to a quarter of the power of two below it. Up to a
-- quarter more, and nearly that for blocks that have doubled: with a flat sixth, a stream at its limit took 1.05 of it.
local function room_for(size)
  local _, exponent = math.frexp(size - 1)
  local step = 2 ^ (exponent - 3)
  return math.ceil(size / step) * step
end

-- What a request of so many bytes counts. Those of 1 MiB take 1.25: counted exactly, a budget full of them was passed by an eighth.
local function request_bytes(size)
  return size < LARGE_REQUEST_BYTES and size or room_for(size + STRING_OVERHEAD)
end

local function held_request_bytes(keys)
  return request_bytes(redis.call('STRLEN', keys[REQUEST]))
end

-- Tell the sums that a stream's share is another one than it was.
local function change_share(keys, before, after)
  if after ~= before then
    count_bytes(keys, redis.call('HGET', keys[META], 'tenant'), after - before)
  end
end

-- The bytes of a stream's blocks: what it holds beside its entries, without request and metadata.
local function blocks_bytes(keys)
  return tonumber(redis.call('HGET', keys[META], 'beside') or 0) - held_request_bytes(keys)
    - redis.call('HSTRLEN', keys[META], 'metadata')
end

-- All keys of a stream but its tombstone go, and with them their share of the sums.
local function remove(keys)
  local held = redis.call('HMGET', keys[META], 'settled', 'tenant', 'whole', 'folded')
  count_bytes(keys, held[2], -tonumber(held[1] or 0) - share_of(held[3], held[4]))
  redis.call('HINCRBY', keys[USAGE], 'blocks', digits(-blocks_bytes(keys)))
  redis.call('HINCRBY', keys[USAGE], 'requests', digits(-held_request_bytes(keys)))
  redis.call('DEL', keys[STREAM], keys[BLOCKS], keys[META], keys[REQUEST])
  leave_indexes(keys)
end

-- A claimed stream without its log, or without the blocks of what was folded: Redis lost one key of it.
local function is_headless(keys, attempt)
  return attempt > 0 and (redis.call('EXISTS', keys[STREAM]) == 0
    or tonumber(redis.call('HGET', keys[META], 'folded') or 0) > 0 and redis.call('EXISTS', keys[BLOCKS]) == 0)
end

-- What is left of a stream that lost a key goes too: nobody can write it on, or read it whole, so nobody shall wait for it.
local function drop(keys)
  local refusal = refusal_of('drop', keys)
  if refusal then
    return refusal
  end
  if redis.call('EXISTS', keys[META]) == 1 then
    remove(keys)
  else
    redis.call('DEL', keys[STREAM], keys[BLOCKS], keys[REQUEST])
    leave_indexes(keys)
  end
  local now = now_ms()
  if tonumber(redis.call('HGET', keys[TOMBSTONE], 'gone_ms') or 0) > now then
    redis.call('HSET', keys[TOMBSTONE], 'gone_ms', digits(now))
  end
  return { 'GONE' }
end

-- Bookkeeping of an ending, whoever wrote the terminal event. Answers how many bytes became free.
local function close(keys, kind, now, retain_ms, tombstone_ms)
  local id = id_of(keys[META])
  redis.call('HSET', keys[META], 'writer', '', 'status', kind, 'finished_ms', digits(now), 'lease_ms', '0',
    'expires_ms', digits(now + retain_ms))
  local freed = held_request_bytes(keys)
  redis.call('DEL', keys[REQUEST])
  redis.call('HINCRBY', keys[META], 'bytes', digits(-freed))
  redis.call('HINCRBY', keys[META], 'beside', digits(-freed))
  redis.call('HINCRBY', keys[USAGE], 'requests', digits(-freed))
  redis.call('ZREM', keys[LEASES], id)
  redis.call('ZADD', keys[RECENT], digits(now), id)
  redis.call('ZADD', keys[MAINTENANCE], digits(now), id)
  update_sums(keys)
  expire_at(keys, now + retain_ms, tombstone_ms)
  return freed
end

-- The fence of attempt `attempt`: cuts the log back to `keep` units and bars every older writer.
local function fence(keys, attempt, keep, nonce, reason, worker, old_attempt)
  local freed = 0
  if keep == 0 then
    local blocks = blocks_bytes(keys)
    change_share(keys, share_of(nil, redis.call('HGET', keys[META], 'folded')), share_of())
    redis.call('XTRIM', keys[STREAM], 'MAXLEN', 0)
    redis.call('DEL', keys[BLOCKS])
    redis.call('HDEL', keys[META], 'folded', 'trimmed')
    redis.call('HINCRBY', keys[META], 'beside', digits(-blocks))
    redis.call('HINCRBY', keys[USAGE], 'blocks', digits(-blocks))
  else
    local lost = redis.call('XRANGE', keys[STREAM], '(' .. old_attempt .. '-' .. digits(keep), '+')
    for _, entry in ipairs(lost) do
      redis.call('XDEL', keys[STREAM], entry[1])
      freed = freed + ENTRY_OVERHEAD + #entry[2][2]
    end
  end
  local known, kept = '{"nonce":' .. quoted(nonce) .. ',"keep":' .. digits(keep) .. ',"reason":' .. quoted(reason), digits(keep)
  redis.call('XADD', keys[STREAM], attempt .. '-' .. kept, 'fence', known .. ',"worker":' .. quoted(worker) .. '}')
  -- The worker apart: with a value of more than 64 bytes Redis would keep the whole hash in a form that takes thrice the room.
  redis.call('HSET', keys[META], 'attempt', attempt, 'nonce', nonce, 'tail', kept, 'safe', kept, 'fence:' .. attempt, known .. '}')
  tell(keys, 'worker:' .. attempt, worker)
  return freed
end

-- Ends a stream that has no living writer: takes the next attempt only to write the terminal event.
local function close_unowned(keys, attempt, tail, nonce, kind, value, now, retain_ms, tombstone_ms)
  local mine = digits(attempt + 1)
  fence(keys, mine, tail, nonce, kind, '', digits(attempt))
  redis.call('XADD', keys[STREAM], mine .. '-' .. digits(tail + 1), kind, value)
  redis.call('HSET', keys[META], 'tail', digits(tail + 1), 'safe', digits(tail + 1))
  redis.call('HINCRBY', keys[META], 'bytes', ENTRY_OVERHEAD + #value)
  close(keys, kind, now, retain_ms, tombstone_ms)
  return tail + 1
end
