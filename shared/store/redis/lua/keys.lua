-- Shared by every function of the library. Each function but `append` is given the same KEYS, all in one slot:
--   1 stream  2 blocks  3 meta  4 request  5 tombstone  6 leases  7 recent  8 usage  9 maintenance  10 created
-- Rules: everything is checked before the first write, because Lua does not roll back; the only clock is Redis'.

local STREAM, BLOCKS, META, REQUEST, TOMBSTONE, LEASES, RECENT, USAGE, MAINTENANCE, CREATED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
