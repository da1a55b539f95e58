//! How the allocator is used.

/// Lets all threads share two arenas. glibc gives each thread its own, and what is freed in one
/// cannot be used in another: flows are made by one worker and freed by the next, so every arena
/// would grow to the most that it ever held.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "no thread has been started yet")]
        // SAFETY: it sets a number of the allocator's own; a value that it does not know it refuses.
        let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) } == 1;
        debug_assert!(is_set, "glibc knows M_ARENA_MAX");
    }
}
