"""Cluster environments: who am I among the processes that somebody else started?"""
