-- read: meta and a page of the log, of one instant. A function, because MULTI is refused when memory is short.
-- ARGV  1 after (an entry id)  2 limit  3 most_bytes (0 for any)
-- Answers  {field value…} {block…} {entry…}: blocks fill the page first, all lists are empty if there is no stream | LARGE
-- (the page holds more than most_bytes)

-- A page ends with the block or the entry that passes this many bytes: a block can be a megabyte, an entry 32 KB.
local PAGE_BYTES = 256 * 1024
-- Entries that are looked at together, at first.
local LOOK_FIRST = 32

local function values_size(fields, first)
  local bytes = 0
  for i = first, #fields, 2 do
    bytes = bytes + #fields[i]
  end
  return bytes
end

-- The blocks of a page, and their bytes.
local function read_blocks(key, after, limit, enough)
  local blocks, bytes = {}, 0
  while #blocks < limit and bytes < enough do
    local block = redis.call('XRANGE', key, after, '+', 'COUNT', 1)[1]
    if not block then
      break
    end
    blocks[#blocks + 1], after = block, '(' .. block[1]
    bytes = bytes + values_size(block[2], 4)
  end
  return blocks, bytes
end

-- The entries of a page that holds `bytes` already, and what it holds with them.
local function read_entries(key, after, limit, bytes, enough)
  local entries, count = {}, LOOK_FIRST
  while #entries < limit and bytes < enough do
    local found = redis.call('XRANGE', key, after, '+', 'COUNT', math.min(count, limit - #entries))
    for _, entry in ipairs(found) do
      if bytes >= enough then
        break
      end
      entries[#entries + 1], after = entry, '(' .. entry[1]
      bytes = bytes + values_size(entry[2], 2)
    end
    if #found < count then
      break
    end
    count = 2 * count
  end
  return entries, bytes
end

local function read(keys, args)
  local after, limit, most_bytes = '(' .. args[1], tonumber(args[2]), tonumber(args[3])
  local enough = most_bytes > 0 and math.min(most_bytes + 1, PAGE_BYTES) or PAGE_BYTES
  local blocks, bytes = read_blocks(keys[BLOCKS], after, limit, enough)
  local entries = {}
  if #blocks < limit then
    entries, bytes = read_entries(keys[STREAM], after, limit, bytes, enough)
  end
  if most_bytes > 0 and bytes > most_bytes then
    return { 'LARGE' }
  end
  return { redis.call('HGETALL', keys[META]), blocks, entries }
end
