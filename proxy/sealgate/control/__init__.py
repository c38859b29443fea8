"""What an operator does to a gateway that runs, and what must outlive it for that.

    observed   what the rules would have refused in the last hour, counted
    disk       files that are there whole or not at all

`app` keeps one of each, fed from refusals and shown by `ops`. Its one warning: what is counted here may be
named by anybody who reaches the gateway, so everything is bounded and nothing is believed.
"""
