"""Engines and builders that several tests share. No tests here."""
