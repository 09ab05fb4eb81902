// What mediasoup uses of libsrtp's third version, which no package registry carries, by the second. What that costs is one
// copy of each packet: the second version seals where the packet lies.

#pragma once

#define srtp_policy_t srtp2_policy_t
#include <srtp2/srtp.h>
#undef srtp_policy_t

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

constexpr auto srtp_err_status_buffer_small = static_cast<srtp_err_status_t>(srtp_err_status_pkt_idx_adv + 1);
constexpr auto srtp_err_status_cryptex_err = static_cast<srtp_err_status_t>(srtp_err_status_pkt_idx_adv + 2);

struct Srtp3Policy
{
    srtp2_policy_t policy{};
    std::uint8_t key[SRTP_MAX_KEY_LEN]{};
};
using srtp_policy_t = Srtp3Policy*;

inline srtp_err_status_t srtp_policy_create(srtp_policy_t* policy)
{
    *policy = new (std::nothrow) Srtp3Policy;
    return *policy == nullptr ? srtp_err_status_alloc_fail : srtp_err_status_ok;
}

inline void srtp_policy_destroy(srtp_policy_t policy)
{
    delete policy;
}

inline srtp_err_status_t srtp_policy_set_ssrc(srtp_policy_t policy, srtp_ssrc_t ssrc)
{
    policy->policy.ssrc = ssrc;
    return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_policy_set_profile(srtp_policy_t policy, srtp_profile_t profile)
{
    const auto of_rtp = srtp_crypto_policy_set_from_profile_for_rtp(&policy->policy.rtp, profile);
    return of_rtp != srtp_err_status_ok
             ? of_rtp
             : srtp_crypto_policy_set_from_profile_for_rtcp(&policy->policy.rtcp, profile);
}

inline srtp_err_status_t srtp_policy_add_key(
  srtp_policy_t policy,
  const std::uint8_t* key,
  std::size_t key_len,
  const std::uint8_t* salt,
  std::size_t salt_len,
  const std::uint8_t* /*mki*/,
  std::size_t /*mki_len*/)
{
    if (key_len + salt_len > sizeof(policy->key))
    {
        return srtp_err_status_bad_param;
    }
    std::memcpy(policy->key, key, key_len);
    std::memcpy(policy->key + key_len, salt, salt_len);
    policy->policy.key = policy->key;
    return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_policy_set_allow_repeat_tx(srtp_policy_t policy, bool allowed)
{
    policy->policy.allow_repeat_tx = allowed;
    return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_policy_set_window_size(srtp_policy_t policy, std::size_t size)
{
    policy->policy.window_size = size;
    return srtp_err_status_ok;
}

inline srtp_err_status_t srtp_create(srtp_t* session, srtp_policy_t policy)
{
    return srtp_create(session, const_cast<const srtp2_policy_t*>(&policy->policy));
}

inline srtp_err_status_t srtp_stream_remove(srtp_t session, std::uint32_t ssrc)
{
    return srtp_remove_stream(session, ssrc);
}

/// Copies the packet to where it shall be, and lets the second version work on it there.
inline srtp_err_status_t srtp3_in_place(
  srtp_err_status_t (*work)(srtp_t, void*, int*),
  srtp_t session,
  const std::uint8_t* in,
  std::size_t in_len,
  std::uint8_t* out,
  std::size_t* out_len)
{
    if (*out_len < in_len)
    {
        return srtp_err_status_buffer_small;
    }
    if (in != out)
    {
        std::memcpy(out, in, in_len);
    }
    int length = static_cast<int>(in_len);
    const auto status = work(session, out, &length);
    *out_len = static_cast<std::size_t>(length);
    return status;
}

inline srtp_err_status_t srtp_protect(
  srtp_t session, const std::uint8_t* in, std::size_t in_len, std::uint8_t* out, std::size_t* out_len, std::size_t /*mki*/)
{
    return srtp3_in_place(srtp_protect, session, in, in_len, out, out_len);
}

inline srtp_err_status_t srtp_protect_rtcp(
  srtp_t session, const std::uint8_t* in, std::size_t in_len, std::uint8_t* out, std::size_t* out_len, std::size_t /*mki*/)
{
    return srtp3_in_place(srtp_protect_rtcp, session, in, in_len, out, out_len);
}

inline srtp_err_status_t srtp_unprotect(
  srtp_t session, const std::uint8_t* in, std::size_t in_len, std::uint8_t* out, std::size_t* out_len)
{
    return srtp3_in_place(srtp_unprotect, session, in, in_len, out, out_len);
}

inline srtp_err_status_t srtp_unprotect_rtcp(
  srtp_t session, const std::uint8_t* in, std::size_t in_len, std::uint8_t* out, std::size_t* out_len)
{
    return srtp3_in_place(srtp_unprotect_rtcp, session, in, in_len, out, out_len);
}
