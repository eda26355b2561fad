package main

import (
	"image"
	"image/color"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"rsc.io/qr"
)

// A camera sees what the terminal shows: the drawing is painted again, pixel by
// pixel, and read by another implementation.
func TestDrawnQRReadsBack(t *testing.T) {
	for _, text := range []string{"ZEROPASS:1", strings.Repeat("academic acid ", 30), strings.Repeat("F00DBABE", 60)} {
		code, err := qr.Encode(text, qr.L)
		if err != nil {
			t.Fatal(err)
		}
		for name, drawn := range map[string]string{"plain": drawQR(code, false), "colours": drawQR(code, true)} {
			bitmap, err := gozxing.NewBinaryBitmapFromImage(paint(t, drawn))
			if err != nil {
				t.Fatal(err)
			}
			read, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
			if err != nil || read.GetText() != text {
				t.Errorf("%s, %d characters: read back as %v, %v", name, len(text), read, err)
			}
		}
	}
}

// paint turns half blocks into pixels, four to a module: light where the block
// is drawn, dark where the background shows.
func paint(t *testing.T, drawn string) image.Image {
	t.Helper()
	const scale = 4
	drawn = strings.NewReplacer("\x1b[38;5;231;48;5;16m", "", "\x1b[0m", "").Replace(drawn)
	rows := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	width := len([]rune(rows[0]))
	img := image.NewGray(image.Rect(0, 0, width*scale, 2*len(rows)*scale))
	for y, row := range rows {
		if len([]rune(row)) != width {
			t.Fatalf("line %d is %d characters wide, the first is %d", y, len([]rune(row)), width)
		}
		for x, r := range []rune(row) {
			halves := map[rune][2]bool{' ': {}, '█': {true, true}, '▀': {true, false}, '▄': {false, true}}[r]
			for half, light := range halves {
				for i := range scale * scale {
					if light {
						img.SetGray(x*scale+i%scale, (2*y+half)*scale+i/scale, color.Gray{255})
					}
				}
			}
		}
	}
	return img
}
