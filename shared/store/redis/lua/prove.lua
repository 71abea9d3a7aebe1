-- prove: what rights the caller lacks for some functions and commands. Writes nothing, and reads nothing.
-- ARGV  1 how many functions  2… their names, then for each command how many words it has, and these
-- Answers  a list of what is lacking, empty if nothing is
local function prove(keys, args)
  local found = {}
  local function note(missing, purpose)
    if missing then
      found[#found + 1] = missing .. ' (' .. purpose .. ')'
    end
  end
  local last = 1 + tonumber(args[1])
  for i = 2, last do
    note(lacking(needs_of(args[i], FIRST_READS), keys) or lacking(needs_of(args[i], WRITES), keys), args[i])
  end
  local i = last + 1
  while args[i] do
    local words = { unpack(args, i + 1, i + tonumber(args[i])) }
    if not redis.acl_check_cmd(unpack(words)) then
      note(table.concat(words, ' '), 'command')
    end
    i = i + 1 + #words
  end
  return found
end
