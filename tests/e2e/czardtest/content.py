# SPDX-License-Identifier: Apache-2.0
"""Plaintext as edX exports it: event lines, tables, forum posts, course content. All of it from a seed."""

import gzip
import io
import json
import random
import tarfile

ORA_TABLES = """assessment_aiclassifier assessment_aiclassifierset assessment_aigradingworkflow
assessment_aitrainingworkflow assessment_aitrainingworkflow_training_examples assessment_assessment
assessment_assessmentfeedback assessment_assessmentfeedback_assessments assessment_assessmentfeedback_options
assessment_assessmentfeedbackoption assessment_assessmentpart assessment_criterion assessment_criterionoption
assessment_peerworkflow assessment_peerworkflowitem assessment_rubric assessment_studenttrainingworkflow
assessment_studenttrainingworkflowitem assessment_trainingexample assessment_trainingexample_options_selected
submissions_score submissions_scoresummary submissions_studentitem submissions_submission
workflow_assessmentworkflow workflow_assessmentworkflowstep""".split()
TABLES = """auth_user auth_userprofile certificates_generatedcertificate courseware_studentmodule
course_groups_cohortmembership credit_crediteligibility django_comment_client_role_users
grades_persistentcoursegrade grades_persistentsubsectiongrade student_anonymoususerid student_courseaccessrole
student_courseenrollment student_languageproficiency teams teams_membership teams_courseteam
teams_courseteammembership user_api_usercoursetag user_id_map wiki_article wiki_articlerevision""".split()
FEW_TABLES = ["auth_user", "courseware_studentmodule", "student_courseenrollment", "user_id_map"]
FEW_ORA_TABLES = ["assessment_peerworkflow", "submissions_submission"]

COLUMNS = {
    "auth_user": ["id", "username", "first_name", "last_name", "email", "password", "is_staff", "is_active",
                  "is_superuser", "last_login", "date_joined"],
    "courseware_studentmodule": ["id", "module_type", "module_id", "student_id", "state", "grade", "created",
                                 "modified", "max_grade", "done", "course_id"],
    "student_courseenrollment": ["id", "user_id", "course_id", "created", "is_active", "mode"],
    "user_id_map": ["hash_id", "id", "username"],
}
NAMES = ["ada", "grace", "edsger", "barbara", "tony", "françoise", "søren", "李明", "ольга", "margaret"]


def event_lines(rng, org, site, date, size):
    """About `size` bytes of tracking log."""
    shapes = []
    for i in range(48):
        kind = rng.choice(["play_video", "problem_check", "edx.forum.thread.created", "page_close", "seek_video"])
        event = {
            "username": rng.choice(NAMES) + str(rng.randrange(10000)), "event_type": kind,
            "ip": f"203.0.113.{rng.randrange(256)}", "agent": "Mozilla/5.0 (X11; Linux x86_64)",
            "host": "courses.edx.org" if site == "edx" else "edge.edx.org", "session": f"{rng.getrandbits(128):032x}",
            "referer": f"https://courses.edx.org/courses/course-v1:{org}+CS50.1x+2023_T1/",
            "accept_language": "de-CH,de;q=0.9,en;q=0.8", "event_source": rng.choice(["browser", "server"]),
            "event": json.dumps({"id": f"{rng.getrandbits(64):x}", "currentTime": rng.random() * 600, "code": "html5"}),
            "context": {"user_id": rng.randrange(10**7), "org_id": org, "path": "/event",
                        "course_id": f"course-v1:{org}+CS50.1x+2023_T1"},
            "time": f"{date}T%s+00:00", "page": None,
        }
        before, after = json.dumps(event, ensure_ascii=False).split("%s")
        shapes.append((before, after))
    out, total, second = [], 0, 0.0
    while total < size:
        before, after = shapes[rng.randrange(len(shapes))]
        second = (second + rng.random() * 7) % 86400
        clock = f"{int(second) // 3600:02d}:{int(second) // 60 % 60:02d}:{second % 60:09.6f}"
        line = (before + clock + after + "\n").encode()
        out.append(line)
        total += len(line)
    return b"".join(out)


def gz(data, level=6):
    """gzip that depends on its content only."""
    return gzip.compress(data, compresslevel=level, mtime=0)


def table(rng, name, course, size):
    """Tab-separated with a header line; size 0 is header only."""
    columns = COLUMNS.get(name, ["id", "course_id", "user_id", "created", "value"])
    out = ["\t".join(columns)]
    total, row = len(out[0]), rng.randrange(10**6)
    while total < size:
        row += rng.randrange(1, 9)
        cells = [str(row)]
        for column in columns[1:]:
            if column == "course_id":
                cells.append("course-v1:" + course.replace("-", "+", 2))
            elif column in ("created", "modified", "last_login", "date_joined"):
                cells.append(f"2023-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d} 08:{rng.randrange(60):02d}:00")
            elif column in ("email", "username", "first_name"):
                cells.append(rng.choice(NAMES) + str(row) + ("@mail.example" if column == "email" else ""))
            elif column in ("state", "value", "password"):
                cells.append(f"{rng.getrandbits(160):040x}\\n{{\"attempts\": {rng.randrange(5)}}}")
            else:
                cells.append(rng.choice(["NULL", "0", "1", str(rng.randrange(10**6))]))
        out.append("\t".join(cells))
        total += len(out[-1]) + 1
    return ("\n".join(out) + "\n").encode()


def forum(rng, course, size):
    out, total = [], 0
    while total < size:
        post = {"_id": {"$oid": f"{rng.getrandbits(96):024x}"}, "_type": "CommentThread", "course_id": course,
                "author_username": rng.choice(NAMES), "body": f"question {rng.getrandbits(200):x}"}
        out.append(json.dumps(post, ensure_ascii=False).encode() + b"\n")
        total += len(out[-1])
    return b"".join(out)


def structure(rng, course, size):
    blocks = {}
    while len(blocks) * 120 < size:
        blocks[f"block-v1:{course}+type@html+block@{rng.getrandbits(128):032x}"] = {
            "category": "html", "children": [], "metadata": {"display_name": rng.choice(NAMES)}}
    return json.dumps(blocks, indent=1).encode()


def tar_gz(files):
    """{name: bytes} as a tar.gz that depends on its content only."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(files[name]))
    return gz(out.getvalue())


def incompressible(path, size, seed):
    """A file of `size` bytes that no compressor shortens, made at the speed of the disk."""
    block = random.Random(seed).randbytes(1 << 20)
    with open(path, "wb") as f:
        number = 0
        while size > 0:
            chunk = number.to_bytes(8, "little") + block[8:]
            f.write(chunk[:size])
            size -= len(chunk)
            number += 1
