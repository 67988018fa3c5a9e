"""draft"""


def run_demo(stack): ...
