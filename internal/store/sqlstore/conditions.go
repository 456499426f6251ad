package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// conditions are the parts of a WHERE clause.
type conditions struct {
	where []string
	args  []any
}

// add adds a condition, in which each ? is a placeholder for the next of args.
func (c *conditions) add(cond string, args ...any) {
	for _, a := range args {
		c.args = append(c.args, a)
		cond = strings.Replace(cond, "?", fmt.Sprintf("$%d", len(c.args)), 1)
	}
	c.where = append(c.where, cond)
}

func (c *conditions) clause() string {
	if len(c.where) == 0 {
		return "1 = 1"
	}
	return strings.Join(c.where, " AND ")
}

// limit returns a LIMIT clause, or "".
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

// listing is one query of a list, with its arguments.
type listing struct {
	text string
	args []any
}

// clone returns a copy that conditions can be added to.
func (c *conditions) clone() *conditions {
	return &conditions{where: slices.Clone(c.where), args: slices.Clone(c.args)}
}

// forEach returns one listing per value of an indexed column. Each walks the index in the
// order of the list, whereas one query for all values would have to sort.
func forEach[T any](c *conditions, column string, values []T, complete func(c *conditions) listing) []listing {
	all := make([]listing, 0, len(values))
	for _, v := range values {
		one := c.clone()
		one.add(column+" = ?", v)
		all = append(all, complete(one))
	}
	return all
}

// queryListings runs the listings of one list, whose rows are distinct, and returns
// the first limit rows in the order of compare; 0 = all.
func queryListings[T any](
	ctx context.Context, q querier, scan func(scanner) (T, error), listings []listing, compare func(a, b T) int, limit int,
) ([]T, error) {
	var all []T
	for _, l := range listings {
		some, err := queryAll(ctx, q, scan, l.text, l.args...)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(listings) > 1 {
		slices.SortFunc(all, compare)
	}
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, nil
}

// isIn adds the condition that a column has one of the values. The unary plus keeps the
// column's index from being chosen.
func (c *conditions) isIn(column string, values []string) {
	if len(values) == 0 {
		c.add("1 = 0")
		return
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	c.add("+"+column+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
}

// textUnder adds the condition that a text column begins with prefix: a range of its index.
func (c *conditions) textUnder(column, prefix string) {
	if prefix == "" {
		return
	}
	c.add(column+" >= ?", prefix)
	if end := textAfter(prefix); end != "" {
		c.add(column+" < ?", end)
	}
}

// textAfter returns the first text that follows all texts with a prefix, in the order of their bytes; "" if
// there is none.
func textAfter(prefix string) string {
	for r := []rune(prefix); len(r) > 0; r = r[:len(r)-1] {
		last := &r[len(r)-1]
		switch *last {
		case utf8.MaxRune:
			continue
		case beforeSurrogates:
			*last = afterSurrogates
		default:
			*last++
		}
		return string(r)
	}
	return ""
}

// The numbers between these two are not characters.
const (
	beforeSurrogates = 0xd7ff
	afterSurrogates  = 0xe000
)
