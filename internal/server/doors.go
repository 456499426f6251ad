package server

import (
	"sekisho/internal/api"
	"sekisho/internal/console"
)

// Doors returns the doors that requests select by target, action or signature: all but ssmmessages
// and s3, whose operations are selected by path.
func (s *Server) Doors() []*api.Door { return s.api.Doors() }

// ConsoleRoutes returns the routes of the console.
func (s *Server) ConsoleRoutes() []console.Route { return s.console.Routes() }
