/* SPDX-License-Identifier: Apache-2.0 */
/* What a data czar's IAM policy allows. On edx-course-data: ListBucket with the prefix ORG or ORG/...,
 * GetObject on ORG/...; on course-data: list and read. All else is 403 AccessDenied: HeadBucket, lists
 * without a prefix, attributes, versions, tags, writes. */
#include "request.h"

/* IAM's StringLike with "ORG" and "ORG/" + "*" */
static bool is_below(const char *s, const char *org)
{
        size_t n = strlen(org);
        return s && strncmp(s, org, n) == 0 && (s[n] == 0 || s[n] == '/');
}

bool policy_allows(const struct request *q)
{
        const struct credential *who = q->who;
        if (who->policy == POLICY_OPEN)
                return true;
        if (q->op != OP_LIST && q->op != OP_GET && q->op != OP_HEAD)
                return false;
        if (text_eq(q->bucket, "course-data"))
                return true;
        if (!text_eq(q->bucket, "edx-course-data"))
                return false;
        if (q->op == OP_LIST)
                return is_below(request_param(q, "prefix"), who->org);
        return is_below(q->key, who->org) && strlen(q->key) > strlen(who->org);
}

/* Who asks for an object that is not there gets 404 with the s3:ListBucket permission and 403 without it:
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Permissions). A permission that depends
 * on s3:prefix is none here, because a GET has no prefix. */
bool policy_shows_absence(const struct request *q)
{
        return q->who->policy == POLICY_OPEN || text_eq(q->bucket, "course-data");
}
