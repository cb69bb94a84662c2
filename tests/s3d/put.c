/* SPDX-License-Identifier: Apache-2.0 */
/* PutObject (whole objects only) and DeleteObject, so that tests can change what is served:
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
 * The object appears by a rename once its hash was found to be the signed one. */
#include "request.h"

#include <openssl/evp.h>

struct upload {
        int fd, err;
        char *temp;
        EVP_MD_CTX *sha256, *md5;
};

struct upload *upload_free(struct upload *u)
{
        if (!u)
                return NULL;
        close_fd(u->fd);
        if (u->temp)
                unlink(u->temp);
        free(u->temp);
        EVP_MD_CTX_free(u->sha256);
        EVP_MD_CTX_free(u->md5);
        free(u);
        return NULL;
}

enum MHD_Result put_begin(struct request *q)
{
        struct upload *u = q->upload = text_alloc(sizeof(*u));
        u->fd = store_temp(&q->server->store, &u->temp);
        if (u->fd < 0)
                return reply_error(q, 500, "InternalError", strerror(-u->fd), NULL);
        u->sha256 = EVP_MD_CTX_new();
        u->md5 = EVP_MD_CTX_new();
        EVP_DigestInit_ex(u->sha256, EVP_sha256(), NULL);
        EVP_DigestInit_ex(u->md5, EVP_md5(), NULL);
        return MHD_YES;
}

void put_data(struct request *q, const char *p, size_t n)
{
        struct upload *u = q->upload;
        EVP_DigestUpdate(u->sha256, p, n);
        EVP_DigestUpdate(u->md5, p, n);
        while (n > 0 && !u->err) {
                ssize_t k = write(u->fd, p, n);
                if (k < 0) {
                        u->err = -errno;
                        return;
                }
                p += k;
                n -= (size_t)k;
        }
}

enum MHD_Result put_end(struct request *q)
{
        struct upload *u = q->upload;
        uint8_t d[EVP_MAX_MD_SIZE];
        char hex[65];
        const char *signed_hash = request_header(q, "x-amz-content-sha256");
        EVP_DigestFinal_ex(u->sha256, d, NULL);
        to_hex(d, 32, hex);
        if (!text_eq(signed_hash, UNSIGNED_PAYLOAD) && !text_eq(signed_hash, hex))
                return reply_error(q, 400, "XAmzContentSHA256Mismatch",
                        "The provided 'x-amz-content-sha256' header does not match what was computed.", NULL);
        int r = u->err ? u->err : store_install(&q->server->store, q->bucket, q->key, u->temp, NULL);
        if (r < 0)
                return reply_error(q, r == -EINVAL ? 400 : 500, r == -EINVAL ? "InvalidURI" : "InternalError",
                        strerror(-r), NULL);
        free(take_ptr(&u->temp));
        EVP_DigestFinal_ex(u->md5, d, NULL);
        to_hex(d, 16, hex);
        reply_header(q, "ETag", "\"%s\"", hex);
        q->reply.status = 200;
        return reply_send(q);
}

enum MHD_Result delete_object(struct request *q)
{
        int r = store_remove(&q->server->store, q->bucket, q->key);
        if (r < 0)
                return reply_error(q, 500, "InternalError", strerror(-r), NULL);
        q->reply.status = 204;
        return reply_send(q);
}
