//! HTTP/2 by hand: frames that no library would send.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The preface and no settings of our own.
pub(crate) fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A header in HPACK's plainest form, under a name of its own.
pub(crate) fn header(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    string(&mut field, name.as_bytes());
    string(&mut field, value);
    field
}

/// The headers of a request to a method of the gateway.
pub(crate) fn request(method: &str) -> Vec<u8> {
    // :method POST and :scheme http stand in HPACK's table, :path and :authority by name.
    let mut fields = vec![0x83, 0x86, 0x04];
    string(&mut fields, format!("/docket.gateway.v1.Gateway/{method}").as_bytes());
    fields.push(0x01);
    string(&mut fields, b"gateway");
    fields.extend(header("content-type", b"application/grpc"));
    fields.extend(header("te", b"trailers"));
    fields
}

fn string(to: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        to.push(u8::try_from(rest).expect("it is small"));
    } else {
        to.push(127);
        rest -= 127;
        while rest >= 128 {
            to.push(u8::try_from(rest % 128 + 128).expect("it is a byte"));
            rest /= 128;
        }
        to.push(u8::try_from(rest).expect("it is small"));
    }
    to.extend_from_slice(text);
}
