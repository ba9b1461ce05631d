//! What the messy upstream says: each answer of each scenario, in English and in Chinese, token by token.
//!
//! The answers are rich in characters of several bytes, because those are what careless streaming destroys.

use super::script::{Language, Scenario};

/// One answer.
#[derive(Debug)]
pub(super) struct Text {
    /// Its tokens.
    pub(super) tokens: Vec<&'static str>,
    /// The error that ends it instead of a finish, in scenarios that end so.
    pub(super) error: &'static str,
}

/// The answer of `scenario`.
pub(super) fn text(scenario: Scenario, language: Language) -> Text {
    let tokens = match (scenario, language) {
        (Scenario::Chat, Language::English) => CHAT_ENGLISH,
        (Scenario::Chat, Language::Chinese) => CHAT_CHINESE,
        (Scenario::Slow, Language::English) => SLOW_ENGLISH,
        (Scenario::Slow, Language::Chinese) => SLOW_CHINESE,
        (Scenario::Truncated, Language::English) => TRUNCATED_ENGLISH,
        (Scenario::Truncated, Language::Chinese) => TRUNCATED_CHINESE,
        (Scenario::Error, Language::English) => ERROR_ENGLISH,
        (Scenario::Error, Language::Chinese) => ERROR_CHINESE,
    };
    let error = match language {
        Language::English => "the GPU ran out of memory 💥",
        Language::Chinese => "显存不足 💥",
    };
    Text { tokens: tokens.split('|').collect(), error }
}

// Between tokens stands a bar.
const CHAT_ENGLISH: &str = "Hello| 👋| This| answer| left| the| server| in| pieces|:| events| cut| in| half|,\
    | “你好”| and| 🚀| split| between| their| bytes|.| tidegate| puts| each| one| back| together| —| same| words|,\
    | same| speed|,| no| change| to| your| client| 🎉";

const CHAT_CHINESE: &str = "你好| 👋|这段|回答|离开|服务器|时|已经|支离|破碎|：|事件|被|切成|两半|，|“汉字”|和| 🚀| 从|字节|\
    中间|断开|。|tidegate| 把|它们|一个个|拼回|原样|：|内容|不变|，|速度|不变|，|客户端|一行|代码|\
    都不用|改| 🎉";

const SLOW_ENGLISH: &str = "Four| seconds| of| silence|,| and| nobody| hung| up|:| tidegate| sent| a| heartbeat\
    | 💓| every| second| while| the| model| was| thinking| 🤔|.";

const SLOW_CHINESE: &str =
    "沉默|了|四秒|，|却|没有人|挂断|：|模型|思考| 🤔| 的时候|，|tidegate| 每秒|都|发|一次|心跳| 💓|。";

// Where they stop is the point: a client that takes them for complete is in trouble.
const TRUNCATED_ENGLISH: &str =
    "To| defuse| it| 💣|,| cut| the| blue| wire|.| But| first|,| make| absolutely| sure| that";

const TRUNCATED_CHINESE: &str = "拆弹|很简单| 💣|：|剪断|蓝色|的|那根|线|。|但在|这|之前|，|千万|要|先";

const ERROR_ENGLISH: &str = "Of| course| 😊| Let| me| look| that| up| for| you|.| The| answer| is";

const ERROR_CHINESE: &str = "当然|可以| 😊| 让我|为|您|查|一下|。|答案|是";
