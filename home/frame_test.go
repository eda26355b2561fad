package home

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// payloads that tempt a reader to see frames where there are none.
func testPayloads() [][]byte {
	return [][]byte{
		[]byte("first"),
		{0},
		make([]byte, 40), // zeros, like a hole in a file
		bytes.Repeat([]byte{0xff}, 9),
		appendFrame(nil, []byte("x"))[:8], // a header without its payload
		[]byte("last"),
	}
}

func testFile(payloads [][]byte) (file []byte, ends []int64) {
	file = []byte(magic("test"))
	ends = append(ends, int64(len(file)))
	for _, p := range payloads {
		file = appendFrame(file, p)
		ends = append(ends, int64(len(file)))
	}
	return file, ends
}

func scanBytes(file []byte) (payloads [][]byte, end int64, err error) {
	end, err = scan(bytes.NewReader(file), int64(len(file)), "test", func(_ int64, p []byte) error {
		payloads = append(payloads, p)
		return nil
	})
	return payloads, end, err
}

// However many bytes of an append reached the disk, and if the rest of it reads
// as zeros, the frames before it are what there is.
func TestTornTailAtEveryByte(t *testing.T) {
	file, ends := testFile(testPayloads())
	for size := len(magic("test")); size <= len(file); size++ {
		complete := 0
		for complete+1 < len(ends) && ends[complete+1] <= int64(size) {
			complete++
		}
		for _, zeros := range []int{0, 1, 7, 8, 100} {
			if zeros > 0 && (int64(size) == ends[complete] || size+zeros > int(ends[complete+1])) && complete < len(ends)-1 {
				continue // that many would not be one frame's tail
			}
			torn := append(bytes.Clone(file[:size]), make([]byte, zeros)...)
			got, end, err := scanBytes(torn)
			if zeros > 0 && complete+1 < len(ends) && bytes.Equal(torn[ends[complete]:], file[ends[complete]:ends[complete+1]]) {
				continue // the frame ends in zeros, so it is whole
			}
			if err != nil || len(got) != complete || end != ends[complete] {
				t.Fatalf("%d of %d bytes and %d zeros: %d frames up to %d, %v; want %d up to %d", size, len(file), zeros, len(got), end, err, complete, ends[complete])
			}
		}
	}
}

// A changed byte anywhere but in the last frame is damage, never a torn tail.
func TestDamageInTheMiddle(t *testing.T) {
	file, ends := testFile(testPayloads())
	last := ends[len(ends)-2]
	for i := len(magic("test")); i < int(last); i++ {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(file)
			damaged[i] ^= flip
			_, end, err := scanBytes(damaged)
			var damage *DamageError
			if !errors.As(err, &damage) || !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d ^ %#x: %v", i, flip, err)
			}
			if damage.Offset != end || end > int64(i) || !strings.Contains(err.Error(), "Salvage") {
				t.Fatalf("byte %d ^ %#x: damage at %d: %v", i, flip, end, err)
			}
		}
	}
}

func TestDamageTable(t *testing.T) {
	whole, ends := testFile([][]byte{[]byte("one"), []byte("two"), []byte("three")})
	cut := func(i int64) []byte { return bytes.Clone(whole[:i]) }
	for _, test := range []struct {
		name    string
		file    []byte
		frames  int
		damaged bool
	}{
		{"empty file", nil, 0, true},
		{"other magic", []byte("zeropass/v2/test\n"), 0, true},
		{"magic cut", []byte(magic("test"))[:5], 0, true},
		{"no frames", cut(ends[0]), 0, false},
		{"a length of zero at the end", append(cut(ends[1]), make([]byte, 8)...), 1, false},
		{"a zero page at the end", append(cut(ends[1]), make([]byte, 4096)...), 1, false},
		{"a zeroed frame in the middle", append(append(cut(ends[1]), make([]byte, ends[2]-ends[1])...), whole[ends[2]:]...), 1, true},
		{"a frame removed in half", append(cut(ends[1]+4), whole[ends[2]:]...), 1, true},
		{"a length beyond the end", append(cut(ends[1]), 0, 0, 1, 0, 1, 2, 3, 4, 5), 1, false},
		{"an impossible length", append(cut(ends[1]), 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5), 1, false},
		{"two bad frames", append(append(cut(ends[1]), 0, 0, 0, 1, 0, 0, 0, 0, 7), 0, 0, 0, 1, 0, 0, 0, 0, 7), 1, true},
		{"last byte changed", append(cut(ends[3]-1), '!'), 2, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := scanBytes(test.file)
			if errors.Is(err, ErrDamaged) != test.damaged || len(got) != test.frames {
				t.Errorf("%d frames, %v", len(got), err)
			}
		})
	}
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	name := "test"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(magic(name)), 0o600); err != nil {
		t.Fatal(err)
	}
	reopen := func() (*log, []string) {
		var got []string
		l, damage, err := openLog(dir, name, false, false, func(b []byte) error {
			got = append(got, string(b))
			return nil
		})
		if err != nil || damage != nil {
			t.Fatal(err, damage)
		}
		t.Cleanup(func() { _ = l.close() })
		return l, got
	}
	var want []string
	l, _ := reopen()
	for _, n := range []int{1, 3, maxSyncedFrames, maxSyncedFrames + 1, 50, 1} {
		var payloads [][]byte
		for range n {
			s := fmt.Sprintf("payload %d", len(want))
			payloads, want = append(payloads, []byte(s)), append(want, s)
		}
		if err := l.append(payloads...); err != nil {
			t.Fatal(err)
		}
		for i, s := range want {
			if b, err := l.read(i); err != nil || string(b) != s {
				t.Fatalf("frame %d: %q, %v", i, b, err)
			}
		}
		_, got := reopen()
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("got %q", got)
		}
	}
	if err := l.append(nil); err == nil {
		t.Error("an empty payload was written")
	}
	if err := l.rewrite([][]byte{[]byte("only")}); err != nil {
		t.Fatal(err)
	}
	if _, got := reopen(); len(got) != 1 || got[0] != "only" {
		t.Errorf("got %q", got)
	}
}

func FuzzFrames(f *testing.F) {
	file, _ := testFile(testPayloads())
	f.Add(file[len(magic("test")):])
	f.Add(file[len(magic("test")) : len(file)-3])
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		in := append([]byte(magic("test")), body...)
		payloads, end, err := scanBytes(in)
		if end > int64(len(in)) {
			t.Fatalf("end %d of %d", end, len(in))
		}
		// What was accepted is what would be written, whatever follows it.
		again, _ := testFile(payloads)
		if !bytes.Equal(again, in[:end]) {
			t.Fatal("accepted frames do not re-encode to the same bytes")
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		// What stands before damage or a torn tail is intact by itself.
		if _, cut, err := scanBytes(in[:end]); err != nil || cut != end {
			t.Fatalf("cut to %d: %d, %v", end, cut, err)
		}
	})
}
