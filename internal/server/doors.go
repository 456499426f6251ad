package server

import "sekisho/internal/api"

// Doors are the doors that requests name by target, action or signature:
// all but ssmmessages and s3, whose operations are chosen by their paths.
func (s *Server) Doors() []*api.Door { return s.api.Doors() }
