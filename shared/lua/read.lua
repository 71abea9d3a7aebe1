-- read: meta and a page of the log, of one instant. A function, because MULTI is refused when memory is short.
-- ARGV  1 after (an entry id)  2 limit
-- Answers  {field value…} {block…} {entry…}: blocks fill the page first, all lists are empty if there is no stream

-- Blocks are large: a page of them ends with the one that passes this many bytes.
local PAGE_BYTES = 256 * 1024

-- The blocks of a page, and whether there is room left in it for entries.
local function read_blocks(key, after, limit)
  local blocks, bytes = {}, 0
  while #blocks < limit and bytes < PAGE_BYTES do
    local block = redis.call('XRANGE', key, after, '+', 'COUNT', 1)[1]
    if not block then
      return blocks, true
    end
    blocks[#blocks + 1], after = block, '(' .. block[1]
    for i = 4, #block[2], 2 do
      bytes = bytes + #block[2][i]
    end
  end
  return blocks, false
end

local function read(keys, args)
  local after, limit = '(' .. args[1], tonumber(args[2])
  local blocks, has_room = read_blocks(keys[BLOCKS], after, limit)
  local entries = has_room and redis.call('XRANGE', keys[STREAM], after, '+', 'COUNT', limit) or {}
  return { redis.call('HGETALL', keys[META]), blocks, entries }
end
