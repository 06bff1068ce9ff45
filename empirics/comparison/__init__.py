"""A learned model beside the exact optima: whose score, whose next-token law has it learned?"""
