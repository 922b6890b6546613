-- Who pays for what among the processes of one namespace. ARGV[1] is what is asked; every key stands for a prompt, and has at most two
-- values here: an answer, which is a text, and a flight, which is the token of whoever is paying.
--
-- claim  KEYS: answers of some keys, their flights.  ARGV: token, lease in ms, SHA-1 of an answer that was no good, or ''.
--        {number of a key, its answer}, or {0} where all flights are the token's from now on, or {-1} where another has one of them.
-- end    KEYS: answers, flights.  ARGV: how many answers, the text that they are, for how many ms, the token of each flight.  Flights of
--        others stay.
-- renew  KEYS: flights.  ARGV: lease in ms, 'again' or '', the token of each.  For each, 1 where it was gone; 'again' sets those.
-- wait   KEYS: flights.  For each of them, 1 where somebody has it.
-- place  KEYS: the mark of the place of pictures.  ARGV: a mark for a place that has none, or '', and for how many ms.  The mark, or ''.

-- What only a stranger can have written is as good as nothing: a value of another type, an answer longer than any, a flight without end.
local LONGEST_TEXT, LONGEST_LEASE = 2097152, 60000

local function text(key)
    local kind = redis.call('TYPE', key).ok
    if kind == 'string' and redis.call('STRLEN', key) <= LONGEST_TEXT then return redis.call('GET', key) end
    if kind ~= 'none' then redis.call('DEL', key) end
    return false
end

local function stands(key)
    local left = redis.call('PTTL', key)
    return left >= 0 and left <= LONGEST_LEASE
end

local asked = ARGV[1]

if asked == 'claim' then
    local token, lease, spoilt, count = ARGV[2], ARGV[3], ARGV[4], #KEYS / 2
    for number = 1, count do
        local answer = text(KEYS[number])
        if answer and spoilt ~= '' and redis.sha1hex(answer) == spoilt then
            redis.call('DEL', KEYS[number])
        elseif answer then
            return {number, answer}
        end
    end
    for number = count + 1, #KEYS do
        if stands(KEYS[number]) then return {-1} end
    end
    for number = count + 1, #KEYS do redis.call('SET', KEYS[number], token, 'PX', lease) end
    return {0}
elseif asked == 'end' then
    local count = tonumber(ARGV[2])
    for number = 1, count do redis.call('SET', KEYS[number], ARGV[3], 'PX', ARGV[4]) end
    for number = count + 1, #KEYS do
        if text(KEYS[number]) == ARGV[number - count + 4] then redis.call('DEL', KEYS[number]) end
    end
elseif asked == 'renew' then
    local gone = {}
    for number, key in ipairs(KEYS) do
        local token, holder = ARGV[number + 3], stands(key) and text(key)
        gone[number] = holder and 0 or 1
        if holder == token or (not holder and ARGV[3] == 'again') then redis.call('SET', key, token, 'PX', ARGV[2]) end
    end
    return gone
elseif asked == 'wait' then
    local standing = {}
    for number, key in ipairs(KEYS) do standing[number] = stands(key) and 1 or 0 end
    return standing
elseif asked == 'place' then
    local mark = text(KEYS[1]) or ''
    if mark == '' and ARGV[2] ~= '' then
        mark = ARGV[2]
        redis.call('SET', KEYS[1], mark, 'PX', ARGV[3])
    end
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return mark
end
return 1
