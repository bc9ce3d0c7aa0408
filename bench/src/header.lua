function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("authorization") then
    headers:replace("x-keystile-key-id", "key_1")
  end
end
