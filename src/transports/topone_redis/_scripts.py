"""The steps that the server takes at once, as Lua scripts.

The server's own clock decides what has expired. A lease is kept as ``epoch expires bus holder``,
a member as ``expires info``. An account's *head* has the last epoch that was given out (``fence``)
and the last message (``epoch``, ``number``, ``id``).
"""

__all__ = ["ACQUIRE", "ANNOUNCE", "CLUSTER", "POINT", "PUBLISH", "RELEASE", "RENEW", "SWAP"]

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
"""

_LEASE = """
local epoch, expires, bus, holder
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry then
    epoch, expires, bus, holder = string.match(entry, '^(%d+) (%d+) (%S+) (.*)$')
end
local is_held = epoch and tonumber(expires) > now
"""

ACQUIRE = (
    _NOW
    + _LEASE
    + """
-- ARGV: account, ttl, bus, holder, the epoch that the caller knows of
if is_held then
    if bus ~= ARGV[3] or epoch == ARGV[5] then
        -- Longer than any lease lasts: the server's clock was set back. It ends as if renewed now.
        if tonumber(expires) > now + ARGV[2] then
            redis.call('HSET', KEYS[1], ARGV[1],
                epoch .. ' ' .. text(now + ARGV[2]) .. ' ' .. bus .. ' ' .. holder)
        end
        return false
    end
    redis.call('HSET', KEYS[1], ARGV[1],
        epoch .. ' ' .. text(now + ARGV[2]) .. ' ' .. bus .. ' ' .. holder)
    return {epoch, holder}
end
-- At least the time: so it grows even if the server has lost what it knew.
local fence = tonumber(redis.call('HGET', KEYS[2], 'fence') or 0)
epoch = text(math.max(fence + 1, now))
redis.call('HSET', KEYS[2], 'fence', epoch)
redis.call('HSET', KEYS[1], ARGV[1],
    epoch .. ' ' .. text(now + ARGV[2]) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
return {epoch, ARGV[4]}
"""
)
"""Take a lease. Keys: leases, head."""

RENEW = (
    _NOW
    + _LEASE
    + """
-- ARGV: account, ttl, epoch
if not is_held or epoch ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1],
    epoch .. ' ' .. text(now + ARGV[2]) .. ' ' .. bus .. ' ' .. holder)
return 1
"""
)
"""Prolong a lease. Keys: leases."""

RELEASE = (
    _NOW
    + _LEASE
    + """
-- ARGV: account, epoch
if epoch == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
"""
)
"""End a lease. Keys: leases."""

CLUSTER = (
    _NOW
    + """
-- ARGV: the life of a lease and of a member, 0 if the caller does not know it
local limit = now + ARGV[1]
local found = {{}, {}}
local patterns = {'^(%d+ )(%d+)( .*)$', '^(%s*)(%d+)( .*)$'}
for index = 1, 2 do
    local all = redis.call('HGETALL', KEYS[index])
    for place = 1, #all, 2 do
        local name, entry = all[place], all[place + 1]
        local head, expires, rest = string.match(entry, patterns[index])
        if not expires or tonumber(expires) <= now then
            redis.call('HDEL', KEYS[index], name)
        else
            if ARGV[1] ~= '0' and tonumber(expires) > limit then
                -- As in ACQUIRE.
                entry = head .. text(limit) .. rest
                redis.call('HSET', KEYS[index], name, entry)
            end
            table.insert(found[index], name)
            table.insert(found[index], entry)
        end
    end
end
return found
"""
)
"""Return what has not expired, and forget the rest. Keys: leases, members."""

ANNOUNCE = (
    _NOW
    + """
-- ARGV: node, ttl, info
redis.call('HSET', KEYS[1], ARGV[1], text(now + ARGV[2]) .. ' ' .. ARGV[3])
return 1
"""
)
"""Keep a member for a while. Keys: members."""

PUBLISH = """
-- ARGV: epoch, number, message, limit, age, '=' or '~'
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return false end
local last = redis.call('HMGET', KEYS[1], 'epoch', 'number', 'id')
if last[1] == ARGV[1] and tonumber(ARGV[2]) <= tonumber(last[2]) then return last[3] end
local id = redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[6], ARGV[4], '*', 'data', ARGV[3])
local oldest = tonumber(string.match(id, '^%d+')) - ARGV[5]
if oldest > 0 then
    redis.call('XTRIM', KEYS[2], 'MINID', ARGV[6], string.format('%.0f', oldest))
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'number', ARGV[2], 'id', id)
return id
"""
"""Store a message, unless a later lease was given out. Keys: head, messages."""

POINT = """
-- ARGV: epoch, number, place
local present = redis.call('GET', KEYS[1])
if present then
    local epoch, number = string.match(present, '^(%d+) (%d+) ')
    if epoch then
        epoch, number = tonumber(epoch), tonumber(number)
        if epoch > tonumber(ARGV[1]) then return 0 end
        if epoch == tonumber(ARGV[1]) and number >= tonumber(ARGV[2]) then return 1 end
    end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return 1
"""
"""Keep the place of a snapshot. Keys: pointer."""

SWAP = """
-- ARGV: new, previous
local present = redis.call('GET', KEYS[1]) or ''
if present ~= ARGV[2] then return present end
redis.call('SET', KEYS[1], ARGV[1])
return false
"""
"""Store a state, if the present one is known. Keys: state."""
