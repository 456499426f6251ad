# server: own
