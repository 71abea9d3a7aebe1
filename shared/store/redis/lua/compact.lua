-- compact: move the oldest entries of a log into one block of merged parts, and trim what is over the stream's budget.
-- ARGV  1 nonce ('' for a stream that is over)  2 block_bytes  3 max_bytes
-- Answers  COMPACTED folded trimmed bytes unfolded more | FENCED attempt | CLOSED status tail | GONE
-- Keeps: every offset that was readable stays readable, but for what is trimmed, and `trimmed` says so. A live log is
-- folded up to its safe offset and keeps its newest entry, so that every tail hears of what it has missed.
-- Works under OOM, because it is what helps then: a stream that is near its budget is trimmed first and written after.

-- Bounds of one call: what it may hold Redis up with, and what Lua can unpack.
local FOLD_MOST, PARTS_MOST = 4000, 1000
-- Entries that are read at once: an entry can be 32 KB, so pages begin small and grow while they hold little. With 500 at once,
-- a call read up to 16 MB of a log that was far behind, to fold one.
local PAGE_FIRST, PAGE_MOST, PAGE_SMALL_BYTES = 32, 500, 65536

local function offset_of(id)
  return tonumber(string.match(id, '-(%d+)$'))
end

-- The smallest id that is larger within the same attempt: what an older attempt wrote after it must stay.
local function id_after(id)
  return string.match(id, '^%d+') .. '-' .. digits(offset_of(id) + 1)
end

-- What a block holds: its values, a little for itself and its parts.
local function block_size_of(fields)
  local size = BLOCK_OVERHEAD + (#fields - 2) / 2 * PART_OVERHEAD
  for i = 4, #fields, 2 do
    size = size + #fields[i]
  end
  return size
end

local function block_bytes_of(fields)
  return room_for(block_size_of(fields))
end

local ARGUMENTS = '"arguments_delta":"'

-- Pieces of one tool call join as text: the arguments are the last member, and escapes never cross a piece.
local function arguments_of(index, value)
  local mine, place = string.match(value, '^{"index":(%d+),"arguments_delta":"()')
  if mine == index and string.sub(value, -2) == '"}' then
    return string.sub(value, place, -3)
  end
end

local function call_index(value)
  if string.sub(value, -2) == '"}' and string.find(value, ARGUMENTS, 1, true) then
    return string.match(value, '^{"index":(%d+),')
  end
end

-- Parts in the making: `parts` is kind, value, kind, value…; `run` holds the pieces of the part that is still growing.
local function new_fold()
  return { parts = {}, run = {}, kind = nil, index = nil, bytes = BLOCK_OVERHEAD }
end

local function close_run(fold)
  if #fold.run == 0 then
    return
  end
  local value = table.concat(fold.run)
  fold.parts[#fold.parts + 1] = fold.kind
  fold.parts[#fold.parts + 1] = fold.index and value .. '"}' or value
  fold.run, fold.kind, fold.index = {}, nil, nil
end

local function open_run(fold, kind, value)
  close_run(fold)
  fold.bytes = fold.bytes + PART_OVERHEAD
  fold.kind, fold.index = kind, kind == 'tool_call' and call_index(value) or nil
  fold.run[1] = fold.index and string.sub(value, 1, -3) or value
end

local function add_part(fold, kind, value)
  fold.bytes = fold.bytes + #value
  if fold.kind == kind and DELTA[kind] then
    fold.run[#fold.run + 1] = value
    return
  end
  local more = fold.index and kind == 'tool_call' and arguments_of(fold.index, value)
  if more then
    fold.bytes = fold.bytes - (#value - #more)
    fold.run[#fold.run + 1] = more
    return
  end
  open_run(fold, kind, value)
end

-- The entries that go into the new block: from the start of the log to `last` (an XRANGE end), as far as bounds allow.
local function gather(key, fold, last, most_bytes)
  local from, count, seen, found = '-', PAGE_FIRST, 0, { freed = 0 }
  while true do
    local page, freed_before = redis.call('XRANGE', key, from, last, 'COUNT', count), found.freed
    for _, entry in ipairs(page) do
      local kind, value = entry[2][1], entry[2][2]
      if kind ~= 'fence' then
        if fold.bytes + #value > most_bytes and found.id or #fold.parts >= 2 * PARTS_MOST - 2 or seen == FOLD_MOST then
          found.more = true
          return found
        end
        add_part(fold, kind, value)
        found.id, found.freed = entry[1], found.freed + ENTRY_OVERHEAD + #value
      end
      found.covered, seen = entry[1], seen + 1
    end
    if #page < count then
      return found
    end
    from = '(' .. page[#page][1]
    if found.freed - freed_before < PAGE_SMALL_BYTES then
      count = math.min(2 * count, PAGE_MOST)
    end
  end
end

-- Small blocks before the new one join it. While the stream grows only those not much larger: so sizes double, each byte is
-- copied a few times at most, and the work stays linear in the text. The last fold takes all that fit.
local function join_blocks(key, fold, is_last, most_bytes)
  local joined, older = { ids = {}, freed = 0 }, {}
  local size, count, before = fold.bytes, #fold.parts / 2, '+'
  while true do
    local block = redis.call('XREVRANGE', key, before, '-', 'COUNT', 1)[1]
    local held = block and block_size_of(block[2])
    if not block or size + held > most_bytes or held > 2 * size and not is_last then
      break
    end
    count = count + (#block[2] - 2) / 2
    if count > PARTS_MOST then
      break
    end
    table.insert(older, 1, block[2])
    joined.ids[#joined.ids + 1] = block[1]
    joined.freed, joined.start = joined.freed + room_for(held), block[2][2]
    size, before = size + held, '(' .. block[1]
  end
  local whole = new_fold()
  for _, fields in ipairs(older) do
    for i = 3, #fields, 2 do
      add_part(whole, fields[i], fields[i + 1])
    end
  end
  for i = 1, #fold.parts, 2 do
    add_part(whole, fold.parts[i], fold.parts[i + 1])
  end
  close_run(whole)
  joined.parts, joined.first = whole.parts, joined.ids[#joined.ids]
  joined.bytes = room_for(whole.bytes)
  return joined
end

-- Redis gives the newest node of a stream 4 KB to grow into. An entry that does not fit beside the others makes it shrink
-- that node, and is taken away again; its id is beyond everything, so only for streams to which nothing will be added.
local function shrink(key, id)
  redis.call('XADD', key, id, 'x', string.rep('x', 4096))
  redis.call('XDEL', key, id)
end

-- What is over the budget goes, oldest block first, but for `kept` and what follows it. Answers the bytes that became free and
-- the end of what is gone.
local function trim_blocks(keys, over_bytes, trimmed, kept)
  local freed, gone = 0, trimmed
  while freed < over_bytes do
    local block = redis.call('XRANGE', keys[BLOCKS], '-', '+', 'COUNT', 1)[1]
    if not block or block[1] == kept then
      break
    end
    freed, gone = freed + block_bytes_of(block[2]), offset_of(block[1])
    redis.call('XDEL', keys[BLOCKS], block[1])
  end
  redis.call('HINCRBY', keys[USAGE], 'blocks', digits(-freed))
  redis.call('HINCRBY', keys[USAGE], 'trimmed_units', digits(gone - trimmed))
  return freed, gone
end

-- What is left of a finished log: its last entry, in a fresh key that holds nothing else. A tail that is behind hears it.
local function keep_ending(keys, tail_id, next_id)
  local ending = redis.call('XRANGE', keys[STREAM], tail_id, tail_id)[1]
  redis.call('DEL', keys[STREAM])
  redis.call('XADD', keys[STREAM], tail_id, unpack(ending[2]))
  shrink(keys[STREAM], next_id)
end

-- The last entry that may be folded, as an XRANGE end; nil if none may.
local function fold_end(keys, attempt, bound)
  local newest = redis.call('XREVRANGE', keys[STREAM], '+', '-', 'COUNT', 1)[1]
  if not newest then
    return nil
  end
  return offset_of(newest[1]) <= bound and '(' .. newest[1] or attempt .. '-' .. digits(bound)
end

local function add_block(keys, id, start, joined)
  local fields = { 'start', joined.start or start, unpack(joined.parts) }
  redis.call('XADD', keys[BLOCKS], id, unpack(fields))
end

-- What a new block holds, where it was before: in older blocks and in single entries.
local function remove_folded(keys, covered, joined)
  for _, old in ipairs(joined and joined.ids or {}) do
    redis.call('XDEL', keys[BLOCKS], old)
  end
  if covered then
    redis.call('XTRIM', keys[STREAM], 'MINID', '=', id_after(covered))
  end
end

-- Answers the bytes by which the stream's blocks have grown.
local function count_block(keys, joined)
  local grown = joined.bytes - joined.freed
  redis.call('HINCRBY', keys[USAGE], 'blocks', digits(grown))
  redis.call('HINCRBY', keys[USAGE], 'compactions', 1)
  return grown
end

-- The stream will not change any more: what is left of it, how long it lives, when the sweeper has to come again.
local function close_fold(keys, attempt, tail, expires_ms)
  local next_id = attempt .. '-' .. digits(tail + 1)
  keep_ending(keys, attempt .. '-' .. digits(tail), next_id)
  if redis.call('EXISTS', keys[BLOCKS]) == 1 then
    shrink(keys[BLOCKS], next_id)
  end
  redis.call('HSET', keys[META], 'whole', '1')
  redis.call('ZADD', keys[MAINTENANCE], digits(expires_ms), id_of(keys[META]))
end

local function compact(keys, args)
  local held = redis.call('HMGET', keys[META], 'status', 'nonce', 'attempt', 'tail', 'safe', 'folded', 'trimmed', 'bytes',
    'beside', 'expires_ms', 'whole')
  local status, attempt, expires_ms = held[1], held[3], tonumber(held[10])
  local is_over = OVER[status]
  if not status then
    leave_indexes(keys)
    return { 'GONE' }
  end
  if is_headless(keys, tonumber(attempt)) then
    redis.call('ZADD', keys[MAINTENANCE], 'XX', digits(expires_ms), id_of(keys[META]))
    return { 'GONE' }
  end
  if not is_over and (held[2] ~= args[1] or args[1] == '') then
    return { 'FENCED', attempt }
  end
  if is_over and args[1] ~= '' then
    return { 'CLOSED', status, held[4] }
  end
  local folded, trimmed, bytes, base_bytes = tonumber(held[6] or 0), tonumber(held[7] or 0), tonumber(held[8]), tonumber(held[9])
  if held[11] then
    return { 'COMPACTED', digits(folded), digits(trimmed), digits(bytes), digits(bytes - base_bytes), '0' }
  end
  local most_bytes, max_bytes, tail = tonumber(args[2]), tonumber(args[3]), tonumber(held[4])
  -- A block on its way is there four times: as a reply, as what Lua is given of it, as an argument, as itself. There has to be
  -- room for that too: with three, Redis' peak for a stream of 50 MiB was 0.99 of that, its clients included.
  local room_bytes = max_bytes - math.min(4 * most_bytes, math.floor(max_bytes / 10))
  local fold, found, joined = new_fold(), { freed = 0 }, nil
  local last = fold_end(keys, attempt, is_over and tail or tonumber(held[5]))
  if last then
    found = gather(keys[STREAM], fold, last, most_bytes)
  end
  local is_last = is_over and not found.more
  if found.id then
    close_run(fold)
    joined = join_blocks(keys[BLOCKS], fold, is_last, most_bytes)
  end

  local refusal = refusal_of('compact', keys)
  if refusal then
    return refusal
  end
  local function trim(bytes_then, kept)
    if bytes_then > room_bytes then
      local freed, gone = trim_blocks(keys, bytes_then - room_bytes, trimmed, kept)
      bytes, base_bytes, trimmed = bytes - freed, base_bytes - freed, gone
    end
  end
  if joined then
    trim(bytes - found.freed - joined.freed + joined.bytes, joined.first)
  end
  -- Written before it is removed, so that nothing can go wrong in between; but for a stream that has no room to be there twice.
  local is_roomy = joined and bytes + joined.bytes <= room_bytes
  if is_roomy then
    add_block(keys, found.id, digits(folded), joined)
  end
  remove_folded(keys, found.covered, joined)
  if joined and not is_roomy then
    add_block(keys, found.id, digits(folded), joined)
  end
  if joined then
    local grown = count_block(keys, joined)
    bytes, base_bytes, folded = bytes - found.freed + grown, base_bytes + grown, offset_of(found.id)
  end
  trim(bytes)
  change_share(keys, share_of(nil, held[6]), share_of(is_last, folded))
  if is_last then
    close_fold(keys, attempt, tail, expires_ms)
    expires_ms = expires_ms + BACKSTOP_MS
  end
  redis.call('HSET', keys[META], 'folded', digits(folded), 'trimmed', digits(trimmed), 'bytes', digits(bytes),
    'beside', digits(base_bytes))
  update_sums(keys)
  expire_log_at(keys, expires_ms)
  return { 'COMPACTED', digits(folded), digits(trimmed), digits(bytes), digits(bytes - base_bytes), found.more and '1' or '0' }
end
