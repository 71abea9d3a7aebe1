-- read: meta and a page of the log, of one instant. A function, because MULTI is refused when memory is short.
-- ARGV  1 after (an entry id)  2 limit
-- Answers  {field value…} {block…} {entry…}: blocks fill the page first, all lists are empty if there is no stream
local function read(keys, args)
  local after = '(' .. args[1]
  local blocks = redis.call('XRANGE', keys[BLOCKS], after, '+', 'COUNT', args[2])
  local entries = {}
  if #blocks < tonumber(args[2]) then
    entries = redis.call('XRANGE', keys[STREAM], after, '+', 'COUNT', args[2])
  end
  return { redis.call('HGETALL', keys[META]), blocks, entries }
end
