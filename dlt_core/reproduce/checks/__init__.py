"""Checks for the exercises, a module for each exercise notebook: plain functions that take the reader's answer.

A check prints one line if the answer is right. If not, it raises `common.NotYet`, with a message that says what is
wrong, and not what would be right.
"""
