//! Inputs to begin with: something of each kind that a target knows, whole and broken.

use zstd::bulk::compress;

use crate::envelope;
use crate::victim::victim;

/// Target, name, bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub fn all() -> Vec<Seed> {
    let mut out = Vec::new();
    records(&mut out);
    chunks(&mut out);
    rows_and_extents(&mut out);
    safetensors(&mut out);
    references(&mut out);
    edits(&mut out);
    operations(&mut out);
    series(&mut out);
    policies(&mut out);
    configurations(&mut out);
    out
}

/// Rows of telemetry.
fn series(out: &mut Vec<Seed>) {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("series.ckptdb");
    let store = ckptdb::Store::create(&path).expect("there is room");
    let job = store.job("NQ").expect("it is a name");
    for first in [0_u32, 40, 10, 900] {
        for iteration in first..first + 30 {
            let loss = 1.0 / f64::from(iteration + 1);
            let values = [
                ("loss", loss),
                ("lr", if iteration % 3 == 0 { f64::NAN } else { -1.0 }),
            ];
            let values = values.into_iter().take(1 + iteration as usize % 2);
            job.log(iteration.into(), values).expect("there is room");
        }
    }
    store.close();
    let bytes = std::fs::read(&path).expect("it was written");
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..bytes.len() - 64 {
        let rest = &bytes[at..];
        if let Some(len) = ckptdb::fuzzing::loose_record(rest)
            && rest[4] == 6
            && seen.insert(len / 64)
        {
            let body = &rest[28..len - 16];
            let name = format!("telemetry-{at}");
            out.push(("record_decode", name, [&[11], body].concat()));
        }
    }
}

/// Histories and rules, by chance.
fn policies(out: &mut Vec<Seed>) {
    for seed in 0..12 {
        let bytes = crate::random::Random::new(seed).bytes(200 + 30 * usize::from(seed as u8));
        out.push(("retention", format!("history-{seed}"), bytes));
    }
}

/// Files as people write them, and with mistakes.
fn configurations(out: &mut Vec<Seed>) {
    let texts = [
        "[keep]\nlatest = 8\nbest = { sharpe = 3 }\nevents = [\"phase_end\"]\nmax_size = \"20GiB\"",
        "metrics = { loss = \"min\" }\n[triggers]\niterations = false\ninterval = \"1h 30m\"\n\
         overhead = \"1%\"\nimprovement = { loss = 0.05, sharpe = \"2%\" }\nat = [1, 0x10]",
        "[job.\"phase3/*\"]\nkeep.latest = 3\n\
         [job.\"phase3/NQ\".triggers.adaptive]\nenabled = true",
        "[tool.ckptdb.disk]\nmin_free = \"5%\"\nwhen_low = \"refuse\"",
        "[spike]\nmetric = \"loss\"\nsigma = 6.5\n[session]\n\
         background = \"wait\"\nhook_limit = \"1s\"",
        "KEEP_LATEST\n8\nSESSION_BACKGROUND\nwait\nKEEP_LASTEST\n1",
        "[keep]\nlatest = 8\nlatest = 9",
        "[keep\n",
        "job = 3",
    ];
    for (number, text) in texts.into_iter().enumerate() {
        out.push((
            "configuration",
            format!("file-{number}"),
            text.as_bytes().to_vec(),
        ));
    }
}

/// Records and nodes as a store has them, with their envelopes and without.
fn records(out: &mut Vec<Seed>) {
    let bytes = victim().bytes();
    let mut seen = std::collections::BTreeMap::new();
    for at in 0..bytes.len() - 64 {
        let rest = &bytes[at..];
        if let Some(len) = ckptdb::fuzzing::loose_record(rest) {
            let (table, body) = (rest[4], &rest[28..len - 16]);
            let kinds: &[u8] = match table {
                1 => &[0, 1],
                2..=5 => &[table],
                _ => continue,
            };
            // Of each table the shortest and the longest, of the log a few more.
            let count = seen.entry((table, body.len() / 40)).or_insert(0);
            *count += 1;
            if *count > 1 {
                continue;
            }
            for kind in kinds {
                let name = format!("record-{kind}-{at}");
                out.push(("record_decode", name, [&[*kind], body].concat()));
            }
            let name = format!("sealed-{table}-{at}");
            out.push((
                "record_decode",
                name,
                [&[0x80 | kinds[0]], &rest[..len]].concat(),
            ));
        } else if let Some(len) = ckptdb::fuzzing::loose_node(rest) {
            let name = format!("node-{at}");
            let body = &rest[12..len];
            if ckptdb::fuzzing::node(&rest[..len]).is_ok() && len < 3_000 {
                out.push(("record_decode", name, [&[5 + rest[4]], body].concat()));
            }
        }
    }
    out.push((
        "record_decode",
        "index".into(),
        [&[10, 0x41], &[0; 24][..]].concat(),
    ));
    out.push((
        "record_decode",
        "loose".into(),
        [&[11, 3], &bytes[4096..4200]].concat(),
    ));
}

/// Frames that say their length and frames that do not, whole, cut, doubled, and bombs.
fn chunks(out: &mut Vec<Seed>) {
    let mut put = |name: &str, choice: u8, rest: &[u8]| {
        out.push(("chunk_decode", name.into(), [&[choice], rest].concat()));
    };
    let text = b"layer.weight layer.bias ".repeat(8);
    let framed = |stored: &[u8], raw_len: usize| {
        let len = u32::try_from(raw_len)
            .expect("a seed is short")
            .to_le_bytes();
        [&[1, len[0], len[1], len[2]], stored].concat()
    };
    let frame = compress(&text, 3).expect("text compresses");
    let unsized_frame = zstd::stream::encode_all(&text[..], 3).expect("text compresses");
    let bomb = compress(&vec![0; 16 << 20], 3).expect("zeros compress");
    let large = compress(&vec![0; 1_048_496], 3).expect("zeros compress");
    let skippable = [&b"\x50\x2a\x4d\x18\x04\x00\x00\x00none"[..], &frame].concat();
    put("frame", 5, &framed(&frame, text.len()));
    put(
        "frame-without-length",
        5,
        &framed(&unsized_frame, text.len()),
    );
    put(
        "frame-cut",
        5,
        &framed(&frame[..frame.len() - 3], text.len()),
    );
    put("frame-twice", 5, &framed(&frame.repeat(2), 2 * text.len()));
    put(
        "frame-after-a-skipped-one",
        5,
        &framed(&skippable, text.len()),
    );
    put(
        "frame-of-another-length",
        5,
        &framed(&frame, text.len() + 1),
    );
    put("bomb", 5, &framed(&bomb, 1 << 20));
    put(
        "bomb-without-length",
        5,
        &framed(
            &zstd::stream::encode_all(&vec![0; 16 << 20][..], 3).expect("zeros compress"),
            1 << 20,
        ),
    );
    put("largest", 5, &framed(&large, 1_048_496));
    put("raw", 5, &[&[0, 4, 0, 0], &b"four"[..]].concat());
    put("kept", 4, &[&[255, 0], &text[..]].concat());
    let words: Vec<u8> = (0..2_000_u32)
        .flat_map(|i| (i as f32).sin().to_le_bytes())
        .collect();
    put("kept-floats", 4, &[&[17, 128], &words[..], &words].concat());
}

/// Rows, extents and bundles, whole and cut.
fn rows_and_extents(out: &mut Vec<Seed>) {
    let mut put = |name: &str, choice: u8, rest: &[u8]| {
        out.push(("chunk_decode", name.into(), [&[choice], rest].concat()));
    };
    let mut row = [0; 33];
    (row[0], row[8], row[16], row[20], row[29]) = (1, 7, 100, 90, 1);
    put("row", 1, &row);
    (row[24], row[30], row[31], row[32]) = (3, 2, 1, 1);
    put("row-with-a-base", 1, &[&row[..], &[2; 32]].concat());
    put(
        "row-sealed",
        0,
        &envelope::chunk_row([9; 32], &[&row[..], &[2; 32]].concat()),
    );
    let mut header = [0; 60];
    header[..8].copy_from_slice(b"CKX1\0\x01\0\0");
    (header[8], header[48], header[52], header[56]) = (7, 100, 100, 100);
    put("extent", 3, &[&header[..], &[5; 100]].concat());
    (header[4], header[5], header[56]) = (1, 2, 36);
    put("extent-second", 3, &[&header[..], &[5; 36]].concat());
    // Two of them in a bundle.
    let mut frame = header;
    frame[5] = 0x82;
    let frame = &envelope::extent(&frame, &[5; 36])[..100];
    put("bundle", 2, &[frame, frame, &[0; 3880]].concat());
    put("extent-cut", 2, &envelope::extent(&header, &[5; 36])[..200]);
}

/// A safetensors file.
fn file(header: &str, data: usize) -> Vec<u8> {
    let len = (header.len() as u64).to_le_bytes();
    [&len[..], header.as_bytes(), &vec![7; data]].concat()
}

/// A tensor in a header.
fn tensor(from: u64, to: u64) -> String {
    let shape = to.wrapping_sub(from) / 4;
    format!(r#"{{"dtype":"F32","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
}

/// Headers with everything that a header can have wrong.
fn safetensors(out: &mut Vec<Seed>) {
    let mut put = |name: &str, bytes: Vec<u8>| {
        out.push(("safetensors_import", name.into(), bytes));
    };
    let (first, second) = (tensor(0, 8), tensor(8, 16));
    let two = |a: &str, b: &str| format!(r#"{{"a":{a},"b":{b}}}"#);
    let one = |a: &str| format!(r#"{{"a":{a}}}"#);
    let map = format!(r#"{{"__metadata__":{{"format":"pt"}},"a":{first}}}"#);
    put("two", file(&two(&first, &second), 16));
    put("map", file(&map, 8));
    put("empty", file("{}", 0));
    put("short", file(&two(&first, &second), 15));
    put("long", file(&two(&first, &second), 17));
    let twice = two(&first, &first).replace('b', "a");
    put("name-twice", file(&twice, 8));
    let twice = two(&second, &first).replace('b', "a");
    put("name-twice-apart", file(&twice, 8));
    put("hole", file(&two(&first, &tensor(12, 20)), 20));
    put("overlap", file(&two(&first, &tensor(4, 12)), 12));
    put("backwards", file(&one(&tensor(8, 0)), 8));
    let all = u64::MAX;
    let huge = format!(r#"{{"dtype":"F32","shape":[{all},{all}],"data_offsets":[0,8]}}"#);
    put("overflow", file(&one(&huge), 8));
    put("offsets", file(&one(&tensor(0, all)), 8));
    let deep = one(&["[".repeat(3_000), "]".repeat(3_000)].concat());
    put("deep", file(&deep, 0));
    let names = format!(r#"{{"../\u0000":{first},"":{second}}}"#);
    put("names", file(&names, 16));
    for (name, dtype, shape, data) in [
        ("scalar", "F64", "", 8),
        ("none", "U8", "0", 0),
        ("halves", "F4", "3", 2),
    ] {
        let odd = format!(r#"{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[0,{data}]}}"#);
        put(name, file(&one(&odd), data));
    }
    let many =
        (0..40).map(|number| format!(r#""t{number}":{}"#, tensor(number * 8, number * 8 + 8)));
    let many: Vec<String> = many.collect();
    put("many", file(&format!("{{{}}}", many.join(",")), 320));
    put(
        "header-beyond-the-file",
        [&all.to_le_bytes()[..], b"{}"].concat(),
    );
    put(
        "header-of-99-million",
        [&99_000_000_u64.to_le_bytes()[..], b"{}"].concat(),
    );
    put("seven-bytes", vec![2, 0, 0, 0, 0, 0, 0]);
}

fn references(out: &mut Vec<Seed>) {
    let mut put = |name: String, choice: u8, text: &[u8]| {
        out.push(("reference_and_template", name, [&[choice], text].concat()));
    };
    let references = [
        "NQ",
        "NQ@latest~2",
        "phase1/NQ@best:val/loss",
        "runs.ckptdb:NQ@25000:interrupt~1",
        "a:b:NQ@event:phase_boundary:warm",
        "tag:good",
        "NQ@-2h",
        "NQ@-213503982334601d",
        "id:1234",
        "@",
        "NQ@best:m@y~99999999999999999999",
    ];
    for (number, text) in references.iter().enumerate() {
        put(format!("reference-{number}"), 0, text.as_bytes());
    }
    let names: [&[&str]; 9] = [
        &["NQ", "good", "loss"],
        &["..", "../../x", "/etc/passwd", ".", ""],
        &["a", "a/b", "a/../b", "a//b", "a/./b", "a/"],
        &[
            "x\u{0}y",
            "x\u{1b}[2J",
            "a\u{202e}b",
            "\u{2066}",
            "\u{feff}",
        ],
        &["C:\\x", "con", "a%2Fb", "%2E%2E", "a\\..\\b"],
        &[
            "m.safetensors/a",
            "m.safetensors/__metadata__",
            "m.safetensors",
        ],
        &["../m.safetensors/a", "__metadata__", "tensors.safetensors"],
        &["-rf", "~", "$HOME", "a b", "a\nb"],
        &["x.tmp", "x", "x/x.tmp"],
    ];
    for (number, names) in names.iter().enumerate() {
        for choice in [1, 0x55, 0xff] {
            let joined = names.iter().map(|name| name.as_bytes());
            let joined: Vec<&[u8]> = joined.collect();
            put(
                format!("names-{number}-{choice}"),
                choice,
                &joined.join(&0xff),
            );
        }
    }
    put("name-of-1025".into(), 1, &[b'n'; 1025]);
    put("name-of-300".into(), 1, &[b'n'; 300]);
}

/// Edits of the store that the targets share, and files that are no stores.
fn edits(out: &mut Vec<Seed>) {
    for target in ["open_any_bytes", "salvage"] {
        let mut put = |name: &str, choice: u8, rest: &[u8]| {
            out.push((target, name.into(), [&[choice], rest].concat()));
        };
        put("whole", 0x1f, &[]);
        put(
            "patched",
            0x1f,
            &[0, 0, 3, 0, 40, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        );
        put("flipped", 0x1f, &[1, 0, 9, 1, 0, 3, 1, 0, 20, 0, 99, 6]);
        put("cut", 0x1f, &[2, 0, 0, 0, 0, 0, 1, 0, 0]);
        put("extended", 0x1f, &[3, 1, 0, 0xaa]);
        put("swapped-sectors", 0x1f, &[4, 0, 1, 0, 0, 0, 9, 0, 0]);
        put("swapped-pages", 0x1f, &[5, 0, 1, 0, 0, 0, 60, 0, 0]);
        put("filled", 0x1f, &[6, 0, 0, 0, 0, 0xff]);
        put("forged-record", 0x1f, &[7, 3, 0, 40, 1]);
        put("forged-extent", 0x1f, &[8, 1, 6, 1]);
        put("file-of-text", 0x80, &b"checkpoint 1\n".repeat(40));
        put("file-of-zeros", 0x80, &[0; 4096]);
        let magic = [&b"redb\x1A\x0A\xA9\x0D\x0A"[..], &[3; 600]].concat();
        put("file-that-begins-like-a-store", 0x80, &magic);
        let bytes = victim().bytes();
        put("image-cut-to-a-page", 0x80, &bytes[..4096]);
        let records = bytes.windows(4).position(|window| window == b"CKR1");
        let at = records.expect("a store has records");
        put(
            "image-of-a-page-of-records",
            0x81,
            &bytes[at / 4096 * 4096..][..4096],
        );
    }
}

/// Choices of operations; what they come to is the fuzzer's business.
fn operations(out: &mut Vec<Seed>) {
    for target in ["ops_crash", "ops_iofault", "deletion"] {
        for seed in 0..6_u8 {
            let mut bytes = vec![seed; 1];
            let mut reader = blake3::Hasher::new().update(&[seed]).finalize_xof();
            let mut choices = [0; 90];
            reader.fill(&mut choices);
            bytes.extend_from_slice(&choices);
            out.push((target, format!("choices-{seed}"), bytes));
        }
        out.push((target, "saves".into(), vec![7; 60]));
    }
}
