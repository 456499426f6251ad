# server: shared
