package sqlstore

import (
	"fmt"
	"strings"
)

// conditions are the parts of a WHERE clause.
type conditions struct {
	where []string
	args  []any
}

// add adds a condition, in which each ? stands for the next of args.
func (c *conditions) add(cond string, args ...any) {
	for _, a := range args {
		c.args = append(c.args, a)
		cond = strings.Replace(cond, "?", fmt.Sprintf("$%d", len(c.args)), 1)
	}
	c.where = append(c.where, cond)
}

func (c *conditions) clause() string { return strings.Join(c.where, " AND ") }

// limit is a LIMIT clause, or nothing.
func (c *conditions) limit(n int) string {
	if n == 0 {
		return ""
	}
	c.args = append(c.args, n)
	return fmt.Sprintf(" LIMIT $%d", len(c.args))
}

// query completes a SELECT.
func (c *conditions) query(selection, order string, limit int) (string, []any) {
	text := selection + " WHERE " + c.clause() + " ORDER BY " + order + c.limit(limit)
	return text, c.args
}
