# server: own
rewrite() { sed "s|ROLE|service-role/AmazonEC2RunCommandRoleForManagedInstances|"; }
