-- Which rights the functions need, and their proof. Lua does not roll back: a function that is refused its third write has done
-- the first two, and what it left half done no later check mends. So each proves all its writes before the first of them.
-- Written as `COMMAND@key`; what is read before the first write proves itself. A user has all keys of a stream or none: that is
-- proven with one DEL of them, which costs a tenth of asking about each.

local KEY_NAMES = {
  stream = STREAM, blocks = BLOCKS, meta = META, request = REQUEST, tombstone = TOMBSTONE, leases = LEASES, recent = RECENT,
  usage = USAGE, maintenance = MAINTENANCE, created = CREATED,
}
local COUNTING = ' HINCRBY@usage HDEL@usage PTTL@usage PEXPIREAT@usage'
local EXPIRING = ' HSET@tombstone PEXPIREAT@meta PEXPIRETIME@leases PEXPIRETIME@recent PEXPIRETIME@usage PEXPIRETIME@maintenance'
  .. ' PEXPIRETIME@created'
local SUMMING = ' HMGET@meta HSET@meta PEXPIRETIME@tombstone' .. COUNTING
local REMOVING = ' HMGET@meta HGET@meta HSTRLEN@meta STRLEN@request DEL@meta ZREM@leases PEXPIRETIME@tombstone' .. COUNTING
local DROPPING = REMOVING .. ' EXISTS@meta HGET@tombstone HSET@tombstone'
local FENCING = ' HGET@meta HSTRLEN@meta STRLEN@request XTRIM@stream XRANGE@stream XDEL@stream XADD@stream DEL@blocks HDEL@meta'
  .. ' HINCRBY@meta HSET@meta' .. COUNTING
local CLOSING = ' HSET@meta STRLEN@request DEL@request HINCRBY@meta ZREM@leases ZADD@recent' .. SUMMING .. EXPIRING
local COMPACTING = ' XADD@blocks XDEL@blocks XTRIM@stream XRANGE@blocks EXISTS@blocks XRANGE@stream DEL@stream XADD@stream XDEL@stream'
  .. ' HGET@meta HSET@meta ZADD@maintenance' .. SUMMING .. EXPIRING

-- Of each function what it reads first, and what it does from its first write on.
local RIGHTS = {
  create = { 'TIME HMGET@meta EXISTS@tombstone',
    'HSET@meta SET@request ZADD@leases ZRANGE@recent EXISTS@meta ZREM@recent PEXPIRETIME@tombstone' .. COUNTING .. EXPIRING },
  claim = { 'TIME HMGET@meta EXISTS@stream GET@request',
    'HSETNX@meta ZADD@leases' .. FENCING .. SUMMING .. EXPIRING },
  append = { 'TIME HMGET@meta HGET@meta XRANGE@stream EXISTS@stream', 'TIME XADD@stream HSETNX@meta' .. CLOSING },
  append_deltas = { 'TIME HMGET@meta HGET@meta', 'XADD@stream HSETNX@meta HSET@meta' .. COUNTING },
  heartbeat = { 'TIME HMGET@meta HGET@meta EXISTS@stream', 'HSET@meta ZADD@leases' .. SUMMING .. EXPIRING },
  release = { 'HMGET@meta', 'HSET@meta ZADD@leases' },
  cancel = { 'TIME HMGET@meta HGET@meta EXISTS@stream', 'HSET@meta' .. FENCING .. CLOSING },
  finish = { 'TIME HMGET@meta HGET@meta EXISTS@stream', 'HSET@meta' .. FENCING .. CLOSING },
  delete = { 'TIME HMGET@meta', 'HMGET@usage HSET@usage HSET@tombstone PEXPIRE@tombstone' .. REMOVING },
  read = { 'HGETALL@meta XRANGE@stream', '' },
  compact = { 'HMGET@meta HGET@meta EXISTS@stream XREVRANGE@stream XRANGE@stream XREVRANGE@blocks', 'TIME' .. COMPACTING },
  evict = { 'TIME HMGET@meta', 'HSET@tombstone PEXPIRE@tombstone' .. EXPIRING .. REMOVING },
  touch = { 'TIME', 'ZADD@recent' },
  recount = { 'ZCARD@recent ZRANGE@recent HMGET@meta STRLEN@request HSTRLEN@meta HGET@usage HKEYS@usage',
    'TIME ZREM@recent ZADD@created EXISTS@meta HSET@usage PEXPIRETIME@tombstone' .. COUNTING },
  drop = { '', 'TIME' .. DROPPING },
  first_append = { '', 'TIME XADD@stream HSET@meta HSETNX@meta' },
  update_sums = { '', COUNTING },
}

-- A list of commands and the places of their keys, each once.
local function parsed(words)
  local found, known = {}, {}
  for word in string.gmatch(words, '%S+') do
    if not known[word] then
      known[word] = true
      local command, key = string.match(word, '^(%u+)@?(%l*)$')
      found[#found + 1] = { command, KEY_NAMES[key] }
    end
  end
  return found
end

-- Parsed when they are first asked for: while a library is loaded, Lua has no `string`.
local FIRST_READS, WRITES, READY = 1, 2, {}
local function needs_of(name, which)
  local place = name .. which
  READY[place] = READY[place] or parsed(RIGHTS[name][which])
  return READY[place]
end

-- The first of these commands that the caller has no right to; nil if there is none.
local function lacking(needs, keys)
  for _, need in ipairs(needs) do
    local command, key = need[1], keys[need[2]]
    if key and not redis.acl_check_cmd(command, key) or not key and not redis.acl_check_cmd(command) then
      return command .. (key and ' on ' .. key or '')
    end
  end
  if keys[MAINTENANCE] and not redis.acl_check_cmd('DEL', unpack(keys)) then
    return 'DEL on all keys of a stream: ' .. table.concat(keys, ' ')
  end
end

-- What is missing for all that a function may write, as the refusal of the whole call; nil if nothing is.
local function refusal_of(name, keys)
  local missing = lacking(needs_of(name, WRITES), keys)
  return missing and redis.error_reply('NOPERM ' .. name .. ' needs ' .. missing)
end
