package interchange

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// A node ties one member of a JSON object to the message field that holds it.
//
// What read returns beside a fault is the rest: all that write needs, beyond
// the field, to give back the same JSON value; nil when the field is enough.
// Rests are JSON values as well:
//
//   - of a member that the field does not spell: {"as": value}
//   - of an object: {"absent": [names], "members": {name: rest}, "more": {name: value}};
//     more are the members that no node is for
//   - of a list: {"as": null or []}, or {"elements": [rest, ...]}
//
// Fields change after an import, and rests do not. So write uses a spelling
// only while read would give what the field holds; in doubt the field is right.
// A rest contains no value that a field holds, so that a password that was
// changed or deleted is not found in it.
type node interface {
	read(v any) (rest any, f *fault)
	write(rest any) (v any, f *fault)
	// empty reports whether an absent member would be read as what the field
	// holds.
	empty() bool
}

// rests takes a rest apart.
func rests(rest any) (map[string]any, *fault) {
	if rest == nil {
		return nil, nil
	}
	parts, ok := rest.(map[string]any)
	if !ok {
		return nil, wrong("has a rest that this program did not write")
	}
	return parts, nil
}

// A leaf is a node for a value without nodes inside.
type leaf struct {
	get    func() any
	set    func(normal any)
	normal func(v any) (any, *fault) // how get spells v; a fault if v is not allowed
}

func (l leaf) read(v any) (any, *fault) {
	normal, f := l.normal(v)
	if f != nil {
		return nil, f
	}
	l.set(normal)
	if same(v, normal) {
		return nil, nil
	}
	return map[string]any{"as": v}, nil
}

func (l leaf) write(rest any) (any, *fault) {
	v, f := l.normal(l.get())
	if f != nil {
		return nil, f
	}
	parts, f := rests(rest)
	if f != nil {
		return nil, f
	}
	if as, ok := parts["as"]; ok {
		if normal, f := l.normal(as); f == nil && same(normal, v) {
			return as, nil
		}
	}
	return v, nil
}

func (l leaf) empty() bool {
	normal, f := l.normal(nil)
	return f == nil && same(l.get(), normal)
}

func isText(v any) *fault {
	text, ok := v.(string)
	switch {
	case !ok:
		return wrong("is not text")
	case !utf8.ValidString(text):
		return wrong("is not UTF-8 text")
	}
	return nil
}

// text is a node for a string. Bitwarden spells an empty one null.
func text(p *string) node {
	return leaf{
		get: func() any {
			if *p == "" {
				return nil
			}
			return *p
		},
		set: func(v any) { *p, _ = v.(string) },
		normal: func(v any) (any, *fault) {
			if v == nil || v == "" {
				return nil, nil
			}
			return v, isText(v)
		},
	}
}

// title is a node for a string that is never null.
func title(p *string) node {
	return leaf{
		get: func() any { return *p },
		set: func(v any) { *p = v.(string) },
		normal: func(v any) (any, *fault) {
			if v == nil {
				return "", nil
			}
			return v, isText(v)
		},
	}
}

// needed is a node for a string without which Bitwarden refuses the file.
func needed(p *string) node {
	return leaf{
		get: func() any { return *p },
		set: func(v any) { *p = v.(string) },
		normal: func(v any) (any, *fault) {
			if v == nil || v == "" {
				return nil, wrong("is empty, which Bitwarden does not take")
			}
			return v, isText(v)
		},
	}
}

func boolean(p *bool) node {
	return leaf{
		get: func() any { return *p },
		set: func(v any) { *p = v.(bool) },
		normal: func(v any) (any, *fault) {
			if v == nil {
				return false, nil
			}
			if _, ok := v.(bool); !ok {
				return nil, wrong("is neither true nor false")
			}
			return v, nil
		},
	}
}

// isWhole admits 0 to 2^64-1 in plain digits.
func isWhole(v any) *fault {
	number, ok := v.(json.Number)
	if ok {
		whole, err := strconv.ParseUint(number.String(), 10, 64)
		ok = err == nil && strconv.FormatUint(whole, 10) == number.String()
	}
	if !ok {
		return wrong("is not a whole number")
	}
	return nil
}

// digits is a node for a whole number or null, kept as its digits.
func digits(p *string) node {
	return leaf{
		get: func() any {
			if *p == "" {
				return nil
			}
			return json.Number(*p)
		},
		set: func(v any) {
			number, _ := v.(json.Number)
			*p = number.String()
		},
		normal: func(v any) (any, *fault) {
			if v == nil {
				return nil, nil
			}
			return v, isWhole(v)
		},
	}
}

// whole is a node for a whole number, 0 being null.
func whole(p *uint64) node {
	return leaf{
		get: func() any {
			if *p == 0 {
				return nil
			}
			return json.Number(strconv.FormatUint(*p, 10))
		},
		set: func(v any) {
			number, _ := v.(json.Number)
			*p, _ = strconv.ParseUint(number.String(), 10, 64)
		},
		normal: func(v any) (any, *fault) {
			if v == nil || v == json.Number("0") {
				return nil, nil
			}
			return v, isWhole(v)
		},
	}
}

// dateLayout is how JavaScript, and so Bitwarden, writes a time.
const dateLayout = "2006-01-02T15:04:05.000Z"

func parseDate(v any) (time.Time, *fault) {
	text, ok := v.(string)
	if !ok {
		return time.Time{}, wrong("is not a date")
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, wrong("is not a date like " + dateLayout)
	}
	// A zone can carry the date out of the years that a date can name.
	if year := at.UTC().Year(); year < 0 || year > 9999 {
		return time.Time{}, wrong("is not within the years 0 to 9999")
	}
	return at, nil
}

func formatDate(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format(dateLayout)
}

// date is a node for a time in milliseconds since 1970, 0 being null. A date
// with another precision or zone has its spelling in the rest.
func date(p *int64) node {
	return leaf{
		get: func() any {
			if *p == 0 {
				return nil
			}
			return formatDate(*p)
		},
		set: func(v any) {
			*p = 0
			if v != nil {
				at, _ := parseDate(v)
				*p = at.UnixMilli()
			}
		},
		normal: func(v any) (any, *fault) {
			if v == nil {
				return nil, nil
			}
			at, f := parseDate(v)
			if f != nil {
				return nil, f
			}
			if at.UnixMilli() == 0 {
				return nil, nil
			}
			return formatDate(at.UnixMilli()), nil
		},
	}
}

// array is a node for a list of objects, kept as a JSON text; empty for [].
func array(p *string) node {
	return leaf{
		get: func() any {
			if *p == "" {
				return []any{}
			}
			v, err := parse([]byte(*p), depthFile)
			if err != nil {
				return *p // which normal refuses
			}
			return v
		},
		set: func(v any) {
			*p = ""
			if list := v.([]any); len(list) > 0 {
				*p = compact(list)
			}
		},
		normal: func(v any) (any, *fault) {
			if v == nil {
				return []any{}, nil
			}
			list, ok := v.([]any)
			if !ok {
				return nil, wrong("is not a list")
			}
			for i, element := range list {
				if _, ok := element.(map[string]any); !ok {
					return nil, wrong("is not an object").in(index(i))
				}
			}
			return v, nil
		},
	}
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// kept is a node for a member that no field holds: it lives in the rest, unless
// it is as usual.
type kept struct {
	usual any
	check func(v any) *fault // of what is not as usual
}

func (k kept) read(v any) (any, *fault) {
	if same(v, k.usual) {
		return nil, nil
	}
	if f := k.check(v); f != nil {
		return nil, f
	}
	return map[string]any{"as": v}, nil
}

func (k kept) write(rest any) (any, *fault) {
	parts, f := rests(rest)
	if f != nil {
		return nil, f
	}
	as, ok := parts["as"]
	if !ok {
		return k.usual, nil
	}
	if same(as, k.usual) {
		return as, nil
	}
	return as, k.check(as)
}

func (kept) empty() bool { return true }

// orNull makes a check admit null too.
func orNull(check func(v any) *fault) func(v any) *fault {
	return func(v any) *fault {
		if v == nil {
			return nil
		}
		return check(v)
	}
}

func isDate(v any) *fault {
	_, f := parseDate(v)
	return f
}
