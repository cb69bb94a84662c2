/* SPDX-License-Identifier: Apache-2.0 */
/* Every bound on what comes from outside, in one place. What an admin may change is in [limits] instead. */
/* gcc's <limits.h> takes the C library's in on the path for quoted names (its syslimits.h does), and so comes
 * by here: pass it on. That is why this header has a guard and not #pragma once. */
#ifdef _GCC_NEXT_LIMITS_H
#include_next <limits.h>
#endif
#ifndef CZARD_LIMITS_H
#define CZARD_LIMITS_H

#include "macro.h"

#define LIMIT_PATH 4095                 /* bytes of a path of this machine */
#define LIMIT_S3_KEY 1024               /* bytes; AWS: object key naming guidelines */
#define LIMIT_S3_BUCKET 63              /* bytes; AWS: bucket naming rules */
#define LIMIT_ETAG 128                  /* bytes, with quotes; a multipart ETag has at most 38 */
#define LIMIT_LIST_PAGE_KEYS 1000       /* keys a page; AWS: ListObjectsV2 max-keys */
#define LIMIT_LIST_PAGE_BYTES (8 * MIB) /* XML of one page */
#define LIMIT_LIST_PAGES 100000         /* pages of one listing */
#define LIMIT_LIST_TOKEN 4096           /* bytes of a continuation token */
#define LIMIT_ERROR_BODY (64 * KIB)     /* XML of an S3 error */
#define LIMIT_XML_DEPTH 8               /* elements */
#define LIMIT_HTTP_HEADER 8192          /* bytes of one header line we look at */
#define LIMIT_CREDENTIALS_FILE (64 * KIB)
#define LIMIT_CONFIG_FILE (1 * MIB)
#define LIMIT_CONFIG_PACKAGES 256
#define LIMIT_CONFIG_DELIVERIES 256
#define LIMIT_PURPOSE 500              /* bytes */
#define LIMIT_CONFIG_ITEMS 20000       /* sections, keys, indented lines and faults of one file */
#define LIMIT_CONFIG_ERRORS 100        /* that are told at once */
#define LIMIT_PASSPHRASE 1024          /* bytes */
#define LIMIT_MEMBER_NAME 255          /* bytes of one path component */
#define LIMIT_ZIP_NAME 65535           /* bytes of a member's name */
#define LIMIT_ZIP_DIRECTORY (64 * MIB) /* bytes of a central directory */
#define LIMIT_PART_SIZE (5 * GIB)      /* AWS: multipart upload limits */
#define LIMIT_PARTS 10000              /* AWS: multipart upload limits */
#define LIMIT_RATIO_FREE (64 * MIB)    /* plaintext bytes from which [limits] max_ratio counts */
#define LIMIT_RECIPIENTS 64            /* key ids of one message that are listed */
#define LIMIT_SIGNATURES 16            /* signatures of one message */
#define LIMIT_REPLAY (512 * KIB)       /* ciphertext kept to try a message again */
#define LIMIT_MEMBER_PATH 4096         /* bytes of a member's whole name */
#define LIMIT_KEYRING (64 * MIB)       /* bytes of a key ring that is copied */
#define LIMIT_KEY_FILE (16 * MIB)      /* bytes of a file of keys that is imported */
#define LIMIT_SECRET_KEYS 1024         /* files in private-keys-v1.d */
#define LIMIT_SECRET_KEY_FILE (64 * KIB)
#define LIMIT_USER_ID 1024      /* bytes of a key's user id that are told */
#define LIMIT_KEY_IDS 1024      /* bytes of the list of a key's subkeys */
#define LIMIT_SPLIT_FILES 20002 /* files of a day by course: the courses and two lists */
/* What a file is taken to cost on a disk: blocks of at least so many bytes, and so many for its inode and
 * name.
 */
#define LIMIT_SPLIT_BLOCK 4096
#define LIMIT_SPLIT_FILE_COST 512

/* Sizes of arrays, with the NUL. What would not fit is refused where it comes in, never cut. */
#define KEY_SIZE (LIMIT_S3_KEY + 1)
#define BUCKET_SIZE (LIMIT_S3_BUCKET + 1)
#define ETAG_SIZE (LIMIT_ETAG + 1)
#define STAGED_PATH_SIZE 512 /* relative to the staging root, or below a snapshot's folder */
#define STAGED_MEMBER_SIZE (2 * STAGED_PATH_SIZE) /* a member's, below the root */
#define COURSE_SIZE 256                           /* a course as members' names have it: one path component */
#define ACCESS_KEY_ID_SIZE 129
#define ORG_SIZE 64
#define SITE_SIZE 64
#define CATEGORY_SIZE 32    /* the word of a category */
#define EVENT_SIZE 64       /* of an audit line */
#define FINGERPRINT_SIZE 65 /* hex; GnuPG 2.4 knows keys of version 5, of 32 bytes */
#define HOST_SIZE 256
#define TABLE_SIZE 128
#define REQUEST_SIZE 128 /* of RDX */
#define DETAIL_SIZE 512  /* of a cause, for people: this one is cut */

#endif
