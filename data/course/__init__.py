"""A course: exercises on the functions of this project, their hand-out, their grading, a walk.

`README.md` beside this file has the texts for students.
"""
