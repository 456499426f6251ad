# server: own
rewrite() { sed "s/NODE/$SEKISHO_TARGET/"; }
