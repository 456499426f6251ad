package policy

import (
	"encoding/base64"
	"net/netip"
	"strings"
)

type comparison uint8

const (
	cmpString comparison = iota
	cmpFold
	cmpLike
	cmpNumeric
	cmpDate
	cmpBool
	cmpBinary
	cmpAddress
	cmpARN
	cmpNull
)

type setOperator uint8

const (
	setNone setOperator = iota
	setAll
	setAny
)

// operator is a condition operator without prefix and suffix.
type operator struct {
	cmp comparison
	rel relation
	neg bool
}

// baseOperator returns the operator called name: in its canonical spelling if
// strict, otherwise in any case.
func baseOperator(name string, strict bool) (operator, bool) {
	for _, o := range [...]struct {
		name string
		op   operator
	}{
		{"StringEquals", operator{cmp: cmpString}},
		{"StringNotEquals", operator{cmp: cmpString, neg: true}},
		{"StringEqualsIgnoreCase", operator{cmp: cmpFold}},
		{"StringNotEqualsIgnoreCase", operator{cmp: cmpFold, neg: true}},
		{"StringLike", operator{cmp: cmpLike}},
		{"StringNotLike", operator{cmp: cmpLike, neg: true}},
		{"NumericEquals", operator{cmp: cmpNumeric}},
		{"NumericNotEquals", operator{cmp: cmpNumeric, neg: true}},
		{"NumericLessThan", operator{cmp: cmpNumeric, rel: relLess}},
		{"NumericLessThanEquals", operator{cmp: cmpNumeric, rel: relLessEqual}},
		{"NumericGreaterThan", operator{cmp: cmpNumeric, rel: relGreater}},
		{"NumericGreaterThanEquals", operator{cmp: cmpNumeric, rel: relGreaterEqual}},
		{"DateEquals", operator{cmp: cmpDate}},
		{"DateNotEquals", operator{cmp: cmpDate, neg: true}},
		{"DateLessThan", operator{cmp: cmpDate, rel: relLess}},
		{"DateLessThanEquals", operator{cmp: cmpDate, rel: relLessEqual}},
		{"DateGreaterThan", operator{cmp: cmpDate, rel: relGreater}},
		{"DateGreaterThanEquals", operator{cmp: cmpDate, rel: relGreaterEqual}},
		{"Bool", operator{cmp: cmpBool}},
		{"BinaryEquals", operator{cmp: cmpBinary}},
		{"IpAddress", operator{cmp: cmpAddress}},
		{"NotIpAddress", operator{cmp: cmpAddress, neg: true}},
		{"ArnEquals", operator{cmp: cmpARN}},
		{"ArnNotEquals", operator{cmp: cmpARN, neg: true}},
		{"ArnLike", operator{cmp: cmpARN}},
		{"ArnNotLike", operator{cmp: cmpARN, neg: true}},
		{"Null", operator{cmp: cmpNull}},
	} {
		if o.name == name || !strict && strings.EqualFold(o.name, name) {
			return o.op, true
		}
	}
	return operator{}, false
}

type fullOperator struct {
	operator
	set      setOperator
	ifExists bool
}

// parseOperator reads an operator with its prefix and suffix.
func parseOperator(name string, strict bool) (fullOperator, bool) {
	var f fullOperator
	if !strict {
		name = lowerASCII(name)
	}
	affix := func(canonical string) string {
		if strict {
			return canonical
		}
		return lowerASCII(canonical)
	}
	if rest, ok := strings.CutPrefix(name, affix("ForAllValues:")); ok {
		f.set, name = setAll, rest
	} else if rest, ok := strings.CutPrefix(name, affix("ForAnyValue:")); ok {
		f.set, name = setAny, rest
	}
	base, ifExists := strings.CutSuffix(name, affix("IfExists"))
	op, ok := baseOperator(base, strict)
	f.operator, f.ifExists = op, ifExists
	return f, ok && !(ifExists && op.cmp == cmpNull)
}

// condition is one key under one operator, with every value parsed.
type condition struct {
	fullOperator
	name   string // operator as written
	key    string // lower case
	slot   slot   // of key
	rawKey string
	raw    []string

	patterns  []pattern           // string-like comparisons
	plain     map[string]struct{} // cmpString: many values without variables
	numbers   []decimal
	integers  []int64 // numbers, if all of them are small integers
	instants  []instant
	nets      []netip.Prefix
	wantTrue  bool // cmpNull, and cmpBool without variables
	wantFalse bool

	recurs *recurrence // a condition on a recurring time; nil for keys of AWS
	deny   bool        // the statement's effect
	aspect Aspects     // the one that the key is about
}

// manyValues is the number of values from which a hash table beats comparing one by one.
const manyValues = 8

func compileCondition(opName string, op fullOperator, key string, values []string, vars bool) *condition {
	c := &condition{fullOperator: op, name: opName, key: strings.ToLower(key), rawKey: key, raw: values}
	c.slot = slots[c.key]
	switch op.cmp {
	case cmpString, cmpFold, cmpBool:
		c.setWanted(values)
		plain := op.cmp == cmpString && len(values) > manyValues
		for _, v := range values {
			p := compilePattern(v, modePlain, vars)
			plain = plain && !p.vars
			c.patterns = append(c.patterns, p)
		}
		if plain {
			c.plain = make(map[string]struct{}, len(values))
			for i := range c.patterns {
				c.plain[c.patterns[i].lit] = struct{}{}
			}
		}
	case cmpLike:
		for _, v := range values {
			c.patterns = append(c.patterns, compilePattern(v, modeLike, vars))
		}
	case cmpARN:
		for _, v := range values {
			c.patterns = append(c.patterns, compilePattern(v, modeARN, vars))
		}
	case cmpBinary:
		for _, v := range values {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				c.patterns = append(c.patterns, compilePattern(base64.StdEncoding.EncodeToString(b), modePlain, false))
			}
		}
	case cmpNumeric:
		for _, v := range values {
			if d, ok := parseDecimal(v); ok {
				c.numbers = append(c.numbers, d)
			}
			if n, ok := parseSmallInteger(v); ok {
				c.integers = append(c.integers, n)
			}
		}
		if len(c.integers) != len(c.numbers) {
			c.integers = nil
		}
	case cmpDate:
		for _, v := range values {
			if d, ok := parseInstant(v); ok {
				c.instants = append(c.instants, d)
			}
		}
	case cmpAddress:
		for _, v := range values {
			if n, ok := parseNet(v); ok {
				c.nets = append(c.nets, n)
			}
		}
	case cmpNull:
		c.setWanted(values)
	}
	return c
}

func (c *condition) setWanted(values []string) {
	for _, v := range values {
		c.wantTrue = c.wantTrue || strings.EqualFold(v, "true")
		c.wantFalse = c.wantFalse || strings.EqualFold(v, "false")
	}
}

// neverMatches returns why a policy value matches no request value under an
// operator, or "" if it can match.
func neverMatches(cmp comparison, value string, vars bool) string {
	switch cmp {
	case cmpDate:
		if _, ok := parseInstant(value); !ok {
			return "is neither an ISO 8601 date nor epoch seconds"
		}
	case cmpNumeric:
		if _, ok := parseDecimal(value); !ok {
			return "is not a number"
		}
	case cmpBool:
		if vars && strings.Contains(value, "${") {
			return ""
		}
		fallthrough
	case cmpNull:
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return "is neither true nor false"
		}
	case cmpAddress:
		if _, ok := parseNet(value); !ok {
			return "is neither an IP address nor a CIDR range"
		}
	case cmpBinary:
		if _, err := base64.StdEncoding.DecodeString(value); err != nil {
			return "is not base64"
		}
	case cmpARN:
		if p := compilePattern(value, modeARN, vars); p.kind == patNever {
			return "is not an ARN pattern of six parts; to match every ARN write arn:*:*:*:*:*"
		}
	case cmpString, cmpFold, cmpLike:
	}
	return ""
}

// holds decides the condition for a request.
func (c *condition) holds(ctx *Context) bool {
	if ctx != nil && ctx.assume != assumeNothing && ctx.isUnknown(c) {
		return (ctx.assume == assumeAllowing) != c.deny
	}
	if c.recurs != nil {
		return c.holdsAt(ctx)
	}
	v, present := ctx.lookup(c.slot, c.key)
	present = present && !v.empty()
	if c.cmp == cmpNull {
		return present && c.wantFalse || !present && c.wantTrue
	}
	switch c.set {
	case setAll:
		if !present {
			return true
		}
		if !v.multi {
			return v.single == "" || c.test(v.single, ctx)
		}
		for _, r := range v.list {
			if r != "" && !c.test(r, ctx) {
				return false
			}
		}
		return true
	case setAny:
		// An absent key is false here even with IfExists: of the two documented readings, this one
		// grants less.
		if !present {
			return false
		}
		if !v.multi {
			return v.single != "" && c.test(v.single, ctx)
		}
		for _, r := range v.list {
			if r != "" && c.test(r, ctx) {
				return true
			}
		}
		return false
	case setNone:
	}
	switch {
	case !present:
		return c.ifExists || c.neg
	case v.multi:
		return false
	}
	if v.parsed != nil {
		switch c.cmp {
		case cmpAddress:
			return (v.parsed.isAddr && c.anyNet(v.parsed.addr)) != c.neg
		case cmpDate:
			return (v.parsed.isInstant && c.anyInstant(v.parsed.time)) != c.neg
		case cmpString, cmpFold, cmpLike, cmpNumeric, cmpBool, cmpBinary, cmpARN, cmpNull:
		}
	}
	return c.test(v.single, ctx)
}

// test compares one request value: with any policy value, or, negated, with
// none of them.
func (c *condition) test(r string, ctx *Context) bool { return c.anyEqual(r, ctx) != c.neg }

func (c *condition) anyEqual(r string, ctx *Context) bool {
	switch c.cmp {
	case cmpString, cmpLike, cmpARN:
		if c.plain != nil {
			_, ok := c.plain[r]
			return ok
		}
		for i := range c.patterns {
			if c.patterns[i].match(r, ctx) {
				return true
			}
		}
	case cmpFold:
		for i := range c.patterns {
			if c.patterns[i].equalFold(r, ctx) {
				return true
			}
		}
	case cmpBool:
		isTrue := r == "true" || strings.EqualFold(r, "true")
		if !isTrue && r != "false" && !strings.EqualFold(r, "false") {
			return false
		}
		if isTrue && c.wantTrue || !isTrue && c.wantFalse {
			return true
		}
		for i := range c.patterns {
			if c.patterns[i].equalFold(r, ctx) {
				return true
			}
		}
	case cmpNumeric:
		if n, ok := parseSmallInteger(r); ok && c.integers != nil {
			for _, m := range c.integers {
				if c.rel.holds(cmpInt(n, m)) {
					return true
				}
			}
			return false
		}
		d, ok := parseDecimal(r)
		if !ok {
			return false
		}
		for i := range c.numbers {
			if c.rel.holds(d.compare(&c.numbers[i])) {
				return true
			}
		}
	case cmpDate:
		t, ok := parseInstant(r)
		if !ok {
			return false
		}
		return c.anyInstant(t)
	case cmpBinary:
		return c.binaryEqual(r)
	case cmpAddress:
		a, ok := parseAddr(r)
		if !ok {
			return false
		}
		return c.anyNet(a)
	case cmpNull:
	}
	return false
}

func (c *condition) anyNet(a netip.Addr) bool {
	for i := range c.nets {
		if c.nets[i].Contains(a) {
			return true
		}
	}
	return false
}

func (c *condition) binaryEqual(r string) bool {
	for i := range c.patterns {
		if c.patterns[i].lit == r {
			return true
		}
	}
	// The same bytes can have another base64 form.
	b, err := base64.StdEncoding.DecodeString(r)
	if err != nil {
		return false
	}
	canonical := base64.StdEncoding.EncodeToString(b)
	for i := range c.patterns {
		if c.patterns[i].lit == canonical {
			return true
		}
	}
	return false
}
