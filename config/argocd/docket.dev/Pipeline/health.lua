-- Health of a Pipeline for Argo CD. Argo CD gives scripts no string library.

-- Reasons of a pipeline that is not ready and becomes so by itself. All others wait for somebody.
local passing = {BrokerUnavailable = true, GatewayAway = true, PoolsNotReady = true, RollingOut = true}

-- The condition of a type, if it is about the spec as it is now.
local function condition(kind)
  for _, candidate in ipairs((obj.status or {}).conditions or {}) do
    if candidate.type == kind then
      local seen = candidate.observedGeneration or (obj.status or {}).observedGeneration
      if seen == nil or obj.metadata.generation == nil or seen >= obj.metadata.generation then
        return candidate
      end
    end
  end
  return nil
end

local function answer(status, about, otherwise)
  return {status = status, message = about and about.message or otherwise}
end

if obj.metadata.deletionTimestamp ~= nil then
  return answer("Progressing", nil, "It is being deleted")
end

local ready = condition("Ready")
if ready == nil then
  return answer("Progressing", nil, "The operator has not seen this generation yet")
end
-- One that is not accepted is not ready for the same reason.
if ready.status == "False" and not passing[ready.reason] then
  return answer("Degraded", ready)
end

local accepted = condition("Accepted")
if (obj.spec or {}).suspend == true and accepted ~= nil and accepted.status == "True" then
  return answer("Suspended", nil, "documents are taken and none is worked: spec.suspend is set")
end
if ready.status == "True" then
  return answer("Healthy", ready)
end
return answer("Progressing", ready)
