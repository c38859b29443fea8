"""What an operator does to a gateway that runs, and what must outlive it for that.

    desk       where orders are taken: kept first, then in force, then answered
    orders     the orders: what is shed and what is revoked, and until when
    keepers    where they are kept: memory, a file, or Redis
    observed   what the rules would have refused in the last hour, counted
    disk       files that are there whole or not at all

`app` keeps one of each; `ops` shows them and brings the orders, once it knows who gave them. Its one warning:
what is counted here may be named by anybody who reaches the gateway, so everything is bounded and nothing is
believed.
"""
