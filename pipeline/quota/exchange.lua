-- One exchange of a process with the shared books of one pool: what happened there, and perhaps a slot for its next call.
--
-- KEYS: meta (hash), calls (sorted set: lease -> when it expires), workers (sorted set: process -> when it was last heard of), known
-- (hash: what processes teach each other, field -> stamp and document, and the last stamp), and a hash for each resource: when the next
-- is due by GCRA (due), the charges of the last minute in slots of a tenth of a second (by their number), their sum (total) and the
-- first of the slots (low).
-- ARGV[1]: JSON, see exchange.py. Times are microseconds of this server's clock, durations are microseconds; all numbers stay
-- below 2^53. Returns {granted, wait, slot, opened, workers, binding, calls, pause, stamp, news, and of each resource what the
-- last minute used}.

local SLOT, OPENING, PATIENCE, WORKER, KEPT, BACK = 100000, 1000000, 1000000, 30000000, 180000, 1000000
local LEARNT, LATEST = 7 * 86400 * 1000, 4e15
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local told = cjson.decode(ARGV[1])
local meta, calls, workers, known = unpack(KEYS)

local function whole(number) return string.format('%.0f', number) end
local function get(key, field) return tonumber(redis.call('HGET', key, field) or nil) end
local function key_of(resource) return KEYS[4 + resource] end

-- Books of another life of the server may lack what was told last (a snapshot, a replica), and those of a clock that was set back lie in
-- the future: they are worth nothing.
local info = redis.pcall('INFO', 'server')
local life = type(info) == 'string' and info:match('run_id:(%x+)') or ''
local former, seen = redis.call('HGET', meta, 'life'), get(meta, 'seen')
if (former and former ~= life) or (seen and now < seen - BACK) then
    for place, key in ipairs(KEYS) do
        if place ~= 4 then redis.call('DEL', key) end
    end
end

-- Books without an opening are new, or were lost: for a moment nothing starts, so that whoever was here before can enter what it has
-- used, and whatever it had booked has started.
local opened = get(meta, 'opened')
if not opened then
    opened = now
    redis.call('HSET', meta, 'opened', whole(now), 'life', life)
end

local function forget(key, window)
    local low, total = get(key, 'low'), get(key, 'total')
    if not low then return 0 end
    local live = math.floor((now - window) / SLOT)
    for slot = low, live - 1 do
        local cost = get(key, whole(slot))
        if cost then
            total = total - cost
            redis.call('HDEL', key, whole(slot))
        end
    end
    if live > low then redis.call('HSET', key, 'low', whole(live), 'total', whole(total)) end
    return total
end

local function enter(key, at, cost)
    local slot, low = math.floor(at / SLOT), get(key, 'low')
    if not low or slot < low then redis.call('HSET', key, 'low', whole(slot)) end
    redis.call('HINCRBY', key, whole(slot), whole(cost))
    redis.call('HINCRBY', key, 'total', whole(cost))
    redis.call('PEXPIRE', key, KEPT)
end

-- A bucket that nobody knows is empty: nothing starts ahead of its pace.
local function due(key, tolerance) return get(key, 'due') or now + tolerance end

for _, charge in ipairs(told.past or {}) do
    local resource, ago, cost, tolerance = unpack(charge)
    local key = key_of(resource)
    enter(key, now - ago, cost)
    redis.call('HSET', key, 'due', whole(math.max(due(key, tolerance), now + tolerance)))
end
-- In other books the slot is not what it was, and the call is entered there as it turned out.
for _, correction in ipairs(told.books == opened and told.corrections or {}) do
    local resource, at, cost, pace = unpack(correction)
    local key, slot = key_of(resource), whole(math.floor(at / SLOT))
    if get(key, slot) then
        redis.call('HINCRBY', key, slot, whole(cost))
        redis.call('HINCRBY', key, 'total', whole(cost))
        redis.call('HSET', key, 'due', whole(due(key, 0) + cost * pace))
    end
end
-- Who cannot start within the horizon and comes back is the first then: without a place kept, small requests of other processes would
-- fill every minute before a large one.
local function first() return redis.call('HGET', meta, 'first') or '' end
local function own(lease) return lease:sub(1, #told.worker + 1) == told.worker .. ':' end
local function kept_for_another()
    local lease = first()
    return lease ~= '' and not own(lease) and get(meta, 'first_until') > now
end
for _, lease in ipairs(told.over or {}) do
    redis.call('ZREM', calls, lease)
    if first() == lease then redis.call('HDEL', meta, 'first') end
end
for _, lease in ipairs(told.going or {}) do redis.call('ZADD', calls, whole(now + told.ttl), lease) end
if told.pause and now + told.pause > (get(meta, 'paused') or 0) then
    redis.call('HSET', meta, 'paused', whole(now + told.pause))
end
redis.call('ZREMRANGEBYSCORE', calls, '-inf', whole(now))
redis.call('ZREMRANGEBYSCORE', workers, '-inf', whole(now - WORKER))
if told.leaves then redis.call('ZREM', workers, told.worker) else redis.call('ZADD', workers, whole(now), told.worker) end

-- What one process has learnt is taken from whoever knew what stood there before: of several that were refused at once the first teaches,
-- and the others go on with that. Stamps are times, so that they grow also where this was lost.
local function stamped(value)
    local at, document = (value or ''):match('^(%d+) ?(.*)$')
    at = tonumber(at or nil)
    -- What no process has written is of no time, and makes way.
    if at and at < LATEST then return at, document end
    return 0, ''
end
local stamp, heard, news, taken = stamped(redis.call('HGET', known, 'last')), told.heard or 0, {}, {}
for field, document in pairs(told.taught or {}) do
    if stamped(redis.call('HGET', known, field)) <= heard then
        stamp = math.max(now, stamp + 1)
        redis.call('HSET', known, field, whole(stamp) .. ' ' .. document, 'last', whole(stamp))
        redis.call('PEXPIRE', known, LEARNT)
        taken[field] = true
    end
end
if stamp > heard then
    local all = redis.call('HGETALL', known)
    for place = 1, #all, 2 do
        local at, document = stamped(all[place + 1])
        if at < now - 1000 * LEARNT then
            redis.call('HDEL', known, all[place])
        elseif at > heard and document ~= '' and not taken[all[place]] then
            news[all[place]] = document
        end
    end
end

-- When it can start, and what keeps it until then: 0 a pause, -1 calls at once, else the number of the resource.
local function start(ask)
    local at, binding = math.max(now, get(meta, 'paused') or 0), 0
    if now < opened + OPENING then at = math.max(at, opened + OPENING + ask.horizon) end
    for resource, need in ipairs(ask.needs) do
        local cost, pace, tolerance, limit, window = unpack(need)
        local key = key_of(resource)
        local ready = due(key, tolerance) - tolerance
        local over = forget(key, window) + cost - limit
        if limit >= 0 and over > 0 then
            local slot, last = get(key, 'low') or 0, math.floor((now + ask.horizon) / SLOT) + 1
            while over > 0 and slot <= last do
                over = over - (get(key, whole(slot)) or 0)
                slot = slot + 1
            end
            ready = math.max(ready, slot * SLOT + window)
        end
        if ready > at then at, binding = ready, resource end
    end
    if kept_for_another() then
        local behind = get(meta, 'first_over')
        if behind > at then
            -- By its key: the other may know of other limits.
            local kept = redis.call('HGET', meta, 'first_binding')
            at, binding = behind, -2
            for resource = 1, #ask.needs do
                if key_of(resource) == kept then binding = resource end
            end
        end
    end
    return at, binding
end

-- Who has less than its part of the calls at once gets the next place: others give one back and ask in one breath, and would take it again.
local function place_kept()
    local whose = redis.call('HGET', meta, 'next')
    return whose and whose ~= told.worker and (get(meta, 'next_until') or 0) > now
end

local function keep(ask, at, binding)
    if kept_for_another() then return end
    local cost, pace = unpack(ask.needs[binding])
    redis.call('HSET', meta, 'first', ask.lease, 'first_until', whole(at - ask.horizon + PATIENCE),
        'first_over', whole(at + cost * pace), 'first_binding', key_of(binding))
end

local granted, at, binding = 0, now, 0
if told.ask then
    local ask = told.ask
    at, binding = start(ask)
    local kept = place_kept()
    if ask.most >= 0 and redis.call('ZCARD', calls) + (kept and 1 or 0) >= ask.most then
        local part = math.max(1, math.floor(ask.most / redis.call('ZCARD', workers)))
        if not kept and at <= now + ask.horizon and ask.out < part then
            redis.call('HSET', meta, 'next', told.worker, 'next_until', whole(now + ask.again + PATIENCE))
        end
        at, binding = math.max(at, now + ask.horizon + ask.again), -1
    end
    if at <= now + ask.horizon then
        granted = 1
        for resource, need in ipairs(ask.needs) do
            local cost, pace, tolerance = unpack(need)
            local key = key_of(resource)
            redis.call('HSET', key, 'due', whole(math.max(due(key, tolerance), at) + cost * pace))
            enter(key, at, cost)
        end
        redis.call('ZADD', calls, whole(now + told.ttl), ask.lease)
        if own(first()) then redis.call('HDEL', meta, 'first') end
        if not kept then redis.call('HDEL', meta, 'next') end
    else
        if binding > 0 then keep(ask, at, binding) end
        at = at - ask.horizon
    end
end
redis.call('HSET', meta, 'seen', whole(now))
for _, key in ipairs({meta, workers}) do redis.call('PEXPIRE', key, KEPT) end
redis.call('PEXPIRE', calls, math.max(KEPT, math.ceil(told.ttl / 1000)))
local answer = {granted, at - now, at, opened, redis.call('ZCARD', workers), binding,
    redis.call('ZCARD', calls), math.max(0, (get(meta, 'paused') or 0) - now), stamp, next(news) and cjson.encode(news) or '{}'}
for place = 5, #KEYS do answer[#answer + 1] = get(KEYS[place], 'total') or 0 end
return answer
