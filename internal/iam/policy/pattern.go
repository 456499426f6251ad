package policy

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokLiteral tokenKind = iota
	tokOne               // ?
	tokStar              // *
	tokVar               // ${key} or ${key, 'default'}
)

// token is one piece of a pattern.
type token struct {
	kind       tokenKind
	noColon    bool   // tokOne, tokStar: may not match ':'
	hasDefault bool   // tokVar
	text       string // literal text, or a variable's default
	key        string // tokVar: key in lower case
	slot       slot   // tokVar: of key
	rawKey     string // tokVar: key as written
}

// patternKind selects the cheapest correct matcher.
type patternKind uint8

const (
	patGeneral patternKind = iota // any tokens, remembering the last star
	patSets                       // any tokens, sets of positions
	patNever
	patAny
	patExact
	patPrefix
)

// pattern is a compiled text with wildcards and variables.
type pattern struct {
	kind    patternKind
	vars    bool
	dynamic bool // ARN pattern whose first five colons may come from a variable
	lit     string
	toks    []token
	src     string
}

// patternMode says which characters of a pattern are special.
type patternMode uint8

const (
	modePlain    patternMode = iota // nothing but variables: StringEquals, Bool
	modeLike                        // * and ? match anything: StringLike
	modeResource                    // the rules of the Resource element
	modeARN                         // the rules of ArnLike
)

// compilePattern compiles src. Variables are recognized only if vars is set, that is, in version
// 2012-10-17.
func compilePattern(src string, mode patternMode, vars bool) pattern {
	p := pattern{src: src}
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p.toks = append(p.toks, token{kind: tokLiteral, text: lit.String()})
			lit.Reset()
		}
	}
	colons := 0
	segmented := mode == modeResource || mode == modeARN
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case c == '$' && vars && (mode != modeResource || colons >= 5) && strings.HasPrefix(src[i:], "${"):
			end := strings.IndexByte(src[i:], '}')
			if end < 0 {
				lit.WriteByte(c)
				continue
			}
			body := src[i+2 : i+end]
			i += end
			if body == "*" || body == "?" || body == "$" {
				lit.WriteString(body)
				continue
			}
			flush()
			p.toks = append(p.toks, variable(body))
			p.vars = true
			if mode == modeARN && colons < 5 {
				p.dynamic = true
			}
		case c == '*' && mode != modePlain:
			flush()
			noColon := segmented && colons < 5
			if noColon && mode == modeResource && (i+1 == len(src) || src[i+1] == ':') {
				noColon = false
			}
			// Adjacent stars merge into one, which is bound to a segment only if all of them are.
			if n := len(p.toks); n > 0 && p.toks[n-1].kind == tokStar {
				p.toks[n-1].noColon = p.toks[n-1].noColon && noColon
				continue
			}
			p.toks = append(p.toks, token{kind: tokStar, noColon: noColon})
		case c == '?' && mode != modePlain:
			flush()
			p.toks = append(p.toks, token{kind: tokOne, noColon: segmented && colons < 5})
		default:
			if c == ':' {
				colons++
			}
			lit.WriteByte(c)
		}
	}
	flush()
	p.choose(mode, colons)
	return p
}

// variable parses the text between ${ and }.
func variable(body string) token {
	t := token{kind: tokVar, rawKey: body}
	if key, def, ok := strings.Cut(body, ","); ok {
		def = strings.TrimLeft(def, " ")
		if len(def) >= 2 && def[0] == '\'' && def[len(def)-1] == '\'' {
			t.rawKey, t.text, t.hasDefault = key, def[1:len(def)-1], true
		}
	}
	t.key = strings.ToLower(t.rawKey)
	t.slot = slots[t.key]
	return t
}

func (p *pattern) choose(mode patternMode, colons int) {
	if mode == modeARN && !p.dynamic && colons < 5 {
		p.kind = patNever
		return
	}
	freeStar, mixed := false, false
	for i := range p.toks {
		if t := &p.toks[i]; t.kind == tokStar {
			mixed = mixed || t.noColon && freeStar
			freeStar = freeStar || !t.noColon
		}
	}
	switch {
	case p.dynamic || mixed:
		p.kind = patSets
	case len(p.toks) == 0:
		p.kind = patExact
	case len(p.toks) == 1 && p.toks[0].kind == tokLiteral:
		p.kind, p.lit = patExact, p.toks[0].text
	case len(p.toks) == 1 && p.toks[0].kind == tokStar && !p.toks[0].noColon:
		p.kind = patAny
	case len(p.toks) == 2 && p.toks[0].kind == tokLiteral && p.toks[1].kind == tokStar && !p.toks[1].noColon:
		p.kind, p.lit = patPrefix, p.toks[0].text
	}
}

// fixed returns the literal prefix and suffix of every match.
func (p *pattern) fixed() (prefix, suffix string) {
	if p.kind == patExact {
		return p.lit, ""
	}
	if n := len(p.toks); n > 0 {
		if p.toks[0].kind == tokLiteral {
			prefix = p.toks[0].text
		}
		if n > 1 && p.toks[n-1].kind == tokLiteral {
			suffix = p.toks[n-1].text
		}
	}
	return prefix, suffix
}

// match reports whether the whole of text matches. A variable without a value
// makes the pattern match nothing.
func (p *pattern) match(text string, ctx *Context) bool {
	switch p.kind {
	case patExact:
		return text == p.lit
	case patPrefix:
		return strings.HasPrefix(text, p.lit)
	case patAny:
		return true
	case patNever:
		return false
	case patGeneral, patSets:
	}
	if p.vars && !p.resolvable(ctx) {
		return false
	}
	if p.kind == patSets {
		return p.matchSets(text, ctx)
	}
	return p.matchGeneral(text, ctx)
}

func (p *pattern) resolvable(ctx *Context) bool {
	for i := range p.toks {
		if t := &p.toks[i]; t.kind == tokVar {
			if _, ok := t.value(ctx); !ok {
				return false
			}
		}
	}
	return true
}

// value returns the value of a variable.
func (t *token) value(ctx *Context) (string, bool) {
	v, ok := ctx.lookup(t.slot, t.key)
	if !ok || v.empty() {
		return t.text, t.hasDefault
	}
	return v.single, !v.multi
}

// fixedAt returns the number of bytes of text at pos that the token matches, or -1.
func (t *token) fixedAt(text string, pos int, ctx *Context) int {
	s := t.text
	switch t.kind {
	case tokOne:
		if pos >= len(text) || t.noColon && text[pos] == ':' {
			return -1
		}
		return charLen(text, pos)
	case tokVar:
		s, _ = t.value(ctx)
	case tokLiteral, tokStar:
	}
	if strings.HasPrefix(text[pos:], s) {
		return len(s)
	}
	return -1
}

func charLen(text string, pos int) int {
	if text[pos] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(text[pos:])
	return n
}

// matchGeneral backtracks only to the last star. That is correct if no colon-bound star follows a
// free one: after a star, the leftmost match of what follows leaves every later choice open, and no
// earlier star can do better.
func (p *pattern) matchGeneral(text string, ctx *Context) bool {
	toks := p.toks
	i, pos := 0, 0
	star, from := -1, 0
	for {
		if i < len(toks) {
			t := &toks[i]
			if t.kind == tokStar {
				if i+1 == len(toks) {
					return !t.noColon || strings.IndexByte(text[pos:], ':') < 0
				}
				if next := &toks[i+1]; i+2 == len(toks) && next.kind == tokLiteral && !t.noColon {
					return strings.HasSuffix(text[pos:], next.text)
				}
				star, from = i, pos
				i++
				continue
			}
			if n := t.fixedAt(text, pos, ctx); n >= 0 {
				pos += n
				i++
				continue
			}
		} else if pos == len(text) {
			return true
		}
		// Mismatch: let the last star match more.
		if star < 0 || from >= len(text) {
			return false
		}
		skip := charLen(text, from)
		if next := &toks[star+1]; next.kind == tokLiteral {
			n := strings.Index(text[from+skip:], next.text)
			if n < 0 {
				return false
			}
			skip += n
		}
		if toks[star].noColon && strings.IndexByte(text[from:from+skip], ':') >= 0 {
			return false
		}
		from += skip
		pos, i = from, star+1
	}
}

// posSet is a set of positions in a text, on the stack for ordinary lengths.
type posSet []uint64

func (s posSet) add(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s posSet) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// next returns the first member at or after i, or -1.
func (s posSet) next(i int) int {
	w := i >> 6
	if w >= len(s) {
		return -1
	}
	word := s[w] >> (i & 63) << (i & 63)
	for word == 0 {
		if w++; w >= len(s) {
			return -1
		}
		word = s[w]
	}
	return w<<6 + bits.TrailingZeros64(word)
}

// matchSets computes the set of all reachable positions after each token. It never backtracks, and
// handles ARN patterns whose segments are only known once variables have values.
func (p *pattern) matchSets(text string, ctx *Context) bool {
	var b1, b2 [40]uint64
	words := len(text)>>6 + 1
	cur, next := posSet(b1[:]), posSet(b2[:])
	if words > len(b1) {
		cur, next = make(posSet, words), make(posSet, words)
	}
	cur, next = cur[:words], next[:words]
	cur.add(0)
	colons := 0
	for i := range p.toks {
		t := &p.toks[i]
		clear(next)
		noColon := t.noColon
		if p.dynamic {
			noColon = colons < 5
			switch t.kind {
			case tokLiteral:
				colons += strings.Count(t.text, ":")
			case tokVar:
				v, _ := t.value(ctx)
				colons += strings.Count(v, ":")
			case tokOne, tokStar:
			}
		}
		for at := cur.next(0); at >= 0; at = cur.next(at + 1) {
			if t.kind != tokStar {
				bound := *t
				bound.noColon = noColon
				if n := bound.fixedAt(text, at, ctx); n >= 0 {
					next.add(at + n)
				}
				continue
			}
			to := at
			for ; to < len(text) && !(noColon && text[to] == ':'); to += charLen(text, to) {
				next.add(to)
			}
			next.add(to)
			// Everything up to here is reached; continue behind it.
			at = to
		}
		cur, next = next, cur
	}
	return (!p.dynamic || colons >= 5) && cur.has(len(text))
}

// equalFold is match for StringEqualsIgnoreCase: no wildcards, any case.
func (p *pattern) equalFold(text string, ctx *Context) bool {
	if p.kind == patExact {
		return strings.EqualFold(text, p.lit)
	}
	if !p.resolvable(ctx) {
		return false
	}
	pos := 0
	for i := range p.toks {
		t := &p.toks[i]
		s := t.text
		if t.kind == tokVar {
			s, _ = t.value(ctx)
		}
		// Simple folding keeps the number of characters, not of bytes.
		end := pos
		for n := utf8.RuneCountInString(s); n > 0; n-- {
			if end >= len(text) {
				return false
			}
			end += charLen(text, end)
		}
		if !strings.EqualFold(text[pos:end], s) {
			return false
		}
		pos = end
	}
	return pos == len(text)
}
