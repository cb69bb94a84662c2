/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of 1, 2, 4 or 8 bytes at an address: the fields that tables tell of. */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline uint64_t number_load(const void *p, size_t size)
{
        return size == 1   ? *(const uint8_t *)p
               : size == 2 ? *(const uint16_t *)p
               : size == 4 ? *(const uint32_t *)p
                           : *(const uint64_t *)p;
}

static inline void number_store(void *p, size_t size, uint64_t v)
{
        if (size == 1)
                *(uint8_t *)p = (uint8_t)v;
        else if (size == 2)
                *(uint16_t *)p = (uint16_t)v;
        else if (size == 4)
                *(uint32_t *)p = (uint32_t)v;
        else
                *(uint64_t *)p = v;
}
